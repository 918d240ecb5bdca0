package command

import (
	"testing"
)

func TestLooksSecret(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"TF_VAR_db_password", "TF_VAR_DBPASSWORD", "PASSWD", "PGPASSFILE_PASS", "db-pass", "secret", "CLIENT_SECRET", "clientSecret", "VAULT_SECRET_ID",
		"TOKEN", "GITHUB_TOKEN", "githubToken", "AWS_SESSION_TOKEN", "API_KEY", "apikey", "apiKey", "ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "PRIVATE_KEY", "sshKeys",
		"credentials", "GOOGLE_CREDENTIALS", "BASIC_AUTH", "oauthHeader", "GH_PAT", "tls_private_pem", "passphrase", "DATABASE_DSN", "TF_VAR_keys",
	} {
		if !LooksSecret(name) {
			t.Errorf("%s does not look secret", name)
		}
	}
	for _, name := range []string{
		"", "_", "TF_VAR_tag", "AWS_PROFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "kms_key_arn", "key_name", "kmsKeyId", "keyboard", "monkey", "author", "AUTHOR_NAME",
		"password_length", "secret_name", "token_ttl", "path", "compass", "passenger", "bypass", "private_subnets", "TF_VAR_private_subnet_ids", "public_key", "public_keys", "partition_key", "state_key_prefix", "auth_mode", "seed", "token_url", "kms_key", "private", "spin", "environment", "ARM_SUBSCRIPTION_ID", "GOOGLE_PROJECT", "image", "turkey",
	} {
		if LooksSecret(name) {
			t.Errorf("%s looks secret", name)
		}
	}
}
