package command

import (
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// Which variables of the environment are values: they choose what a command deploys,
// or which account, project, region, cluster or server it deploys to. Credentials are
// not among them: they change from run to run, and are secret.

// choosing are names, and beginnings of names that end with "*". Some name a file or
// look secret and are neither; all are taken as they are here.
var choosing = nameSet(
	// developer.hashicorp.com/terraform/cli/config/environment-variables
	`TF_VAR_* TF_DATA_DIR`,
	// developer.hashicorp.com/terraform/cli/cloud/settings, registry.terraform.io/providers/hashicorp/tfe
	`TF_CLOUD_ORGANIZATION TF_CLOUD_HOSTNAME TF_CLOUD_PROJECT TFE_HOSTNAME TFE_ORGANIZATION`,
	// developer.hashicorp.com/terraform/language/backend/http, /pg, /s3 (older names of endpoints)
	`TF_HTTP_ADDRESS PGHOST PGPORT PGDATABASE PG_SCHEMA_NAME AWS_S3_ENDPOINT AWS_DYNAMODB_ENDPOINT AWS_STS_ENDPOINT AWS_IAM_ENDPOINT`,
	// terragrunt.gruntwork.io/docs/reference/cli
	`TG_CONFIG TERRAGRUNT_CONFIG TG_SOURCE TERRAGRUNT_SOURCE TG_WORKING_DIR TERRAGRUNT_WORKING_DIR TG_IAM_ASSUME_ROLE
	TERRAGRUNT_IAM_ROLE TERRAGRUNT_IAM_ASSUME_ROLE`,
	// docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html; the account id is a custom of pipelines
	`AWS_PROFILE AWS_DEFAULT_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_ROLE_ARN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_*
	AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ACCOUNT AWS_ACCOUNT_ID AWS_ACCESS_KEY_ID`,
	// registry.terraform.io/providers/hashicorp/azurerm, developer.hashicorp.com/terraform/language/backend/azurerm,
	// learn.microsoft.com/azure/developer (AZURE_*)
	`ARM_SUBSCRIPTION_ID ARM_TENANT_ID ARM_ENVIRONMENT ARM_METADATA_HOSTNAME ARM_METADATA_HOST ARM_ENDPOINT
	AZURE_SUBSCRIPTION_ID AZURE_TENANT_ID AZURE_CONFIG_DIR`,
	// registry.terraform.io/providers/hashicorp/google/latest/docs/guides/provider_reference,
	// cloud.google.com/sdk/docs/properties
	`GOOGLE_PROJECT GOOGLE_CLOUD_PROJECT GCLOUD_PROJECT CLOUDSDK_CORE_PROJECT GOOGLE_REGION GCLOUD_REGION
	CLOUDSDK_COMPUTE_REGION GOOGLE_ZONE GCLOUD_ZONE CLOUDSDK_COMPUTE_ZONE CLOUDSDK_ACTIVE_CONFIG_NAME CLOUDSDK_CONFIG`,
	// registry.terraform.io/providers/hashicorp/kubernetes and helm, kubernetes.io/docs/reference/kubectl
	`KUBE_HOST KUBE_CTX KUBE_CTX_CLUSTER KUBE_CONFIG_PATH KUBE_CONFIG_PATHS KUBE_CONFIG KUBE_NAMESPACE KUBECONFIG
	HELM_KUBECONTEXT HELM_NAMESPACE`,
	// developer.hashicorp.com: vault, consul and nomad commands; registry.terraform.io/providers/hashicorp/hcp
	`VAULT_ADDR VAULT_NAMESPACE CONSUL_HTTP_ADDR CONSUL_NAMESPACE NOMAD_ADDR NOMAD_REGION NOMAD_NAMESPACE HCP_PROJECT_ID
	HCP_ORGANIZATION_ID`,
	// registry.terraform.io/providers/terraform-provider-openstack/openstack
	`OS_CLOUD OS_AUTH_URL OS_REGION_NAME OS_PROJECT_ID OS_PROJECT_NAME OS_TENANT_ID OS_TENANT_NAME OS_DOMAIN_ID OS_DOMAIN_NAME`,
	// registry.terraform.io/providers: aliyun/alicloud, tencentcloudstack/tencentcloud, IBM-Cloud/ibm, scaleway/scaleway, ovh/ovh,
	// yandex-cloud/yandex, digitalocean/digitalocean, hetznercloud/hcloud, linode/linode
	`ALICLOUD_REGION ALICLOUD_PROFILE ALICLOUD_ACCOUNT_ID TENCENTCLOUD_REGION IC_REGION IC_ZONE IBMCLOUD_REGION SCW_PROFILE
	SCW_DEFAULT_PROJECT_ID SCW_DEFAULT_ORGANIZATION_ID SCW_DEFAULT_REGION SCW_DEFAULT_ZONE OVH_ENDPOINT YC_CLOUD_ID YC_FOLDER_ID
	YC_ZONE DIGITALOCEAN_API_URL SPACES_ENDPOINT_URL HCLOUD_ENDPOINT LINODE_URL`,
	// registry.terraform.io/providers: cloudflare/cloudflare, integrations/github, gitlabhq/gitlab, DataDog/datadog,
	// snowflakedb/snowflake, hashicorp/vsphere, bpg/proxmox
	`CLOUDFLARE_ACCOUNT_ID GITHUB_OWNER GITHUB_ORGANIZATION GITHUB_BASE_URL GITLAB_BASE_URL DD_HOST DATADOG_HOST SNOWFLAKE_ACCOUNT
	SNOWFLAKE_ACCOUNT_NAME SNOWFLAKE_ORGANIZATION_NAME VSPHERE_SERVER PROXMOX_VE_ENDPOINT`,
)

// immaterial variables of run.env say how a command runs, not what it deploys. The words of
// TF_CLI_ARGS* are among the command's own, and TF_WORKSPACE is a part of the place.
var immaterialVariables = nameSet(`PATH HOME TMPDIR TEMP TMP TERM NO_COLOR CHECKPOINT_DISABLE TF_LOG TF_LOG_* TF_INPUT
	TF_IN_AUTOMATION TF_PLUGIN_CACHE_DIR TF_REGISTRY_* TF_CLI_ARGS TF_CLI_ARGS_* TF_WORKSPACE TMNOTES_*`)

// names are whole ones, and beginnings.
type names struct {
	whole  map[string]bool
	starts []string
}

func nameSet(lists ...string) names {
	n := names{whole: map[string]bool{}}
	for name := range strings.FieldsSeq(strings.Join(lists, " ")) {
		if start, is := strings.CutSuffix(name, "*"); is {
			n.starts = append(n.starts, start)
		} else {
			n.whole[name] = true
		}
	}
	return n
}

func (n names) has(name string) bool {
	if n.whole[name] {
		return true
	}
	for _, start := range n.starts {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

// Chosen reports whether variables choose what a command deploys, or where: its words do not
// say all of it then.
func Chosen(env []string) bool {
	return slices.ContainsFunc(env, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return value != "" && (choosing.has(name) || name == "TF_WORKSPACE" || strings.HasPrefix(name, "TF_CLI_ARGS"))
	})
}

// RunEnvMatters reports whether a variable that run.env sets is a [Value] of the command, if it is no secret.
func RunEnvMatters(name string) bool { return choosing.has(name) || !immaterialVariables.has(name) }

// variable says what of a variable goes into its digest, if anything.
func variable(name, value string, runEnv bool) (plain string, is bool) {
	chooses := choosing.has(name)
	switch {
	case value == "" && !strings.HasPrefix(name, "TF_VAR_"):
		return "", false // as if it were not set
	case name == "AWS_ACCESS_KEY_ID":
		return awsAccount(value), true
	case !runEnv && !chooses, runEnv && !RunEnvMatters(name):
		return "", false
	case strings.HasPrefix(name, "TF_VAR_"):
		return plainValue(value), !secretName(strings.TrimPrefix(name, "TF_VAR_"))
	case chooses:
		return plainText(value), true
	}
	return plainText(value), !LooksSecret(name)
}

// awsAccount is the account that an access key is one of, which its id tells but for
// old ones: those are long-lived, and stand for themselves. The keys of a session change
// from run to run; their account does not.
func awsAccount(id string) string {
	if len(id) < 16 || (id[4] == 'I' || id[4] == 'J') && strings.HasPrefix(id, "AKIA") {
		return id
	}
	decoded, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(id[4:])
	if err != nil || len(decoded) < 8 {
		return id
	}
	return strconv.FormatUint(binary.BigEndian.Uint64(decoded)>>16&0x7fffffffff80>>7, 10)
}
