package note

import (
	"regexp"
	"strings"
	"sync"
)

// shape is one way in which secrets can be told: by their form, or by what
// stands before them. A shape is tried only where one of its anchors is.
type shape struct {
	name    string
	source  string   // where it is from
	anchors []string // in lower case, three bytes or more; they are found in any case
	// A token begins with its anchor, or so many bytes before it, and matches
	// token. Where that begins with \b, no letter or digit stands before it.
	before int
	token  string
	// find is for those whose surroundings count. It hides what is secret near
	// the anchor, which stands at text[from:to].
	find func(p place)
}

// place is where an anchor was found.
type place struct {
	text     string
	from, to int
	found    *finds
}

// finds are the secrets that were found so far.
type finds struct {
	spans []span
	end   int // of the last one that a shape told
}

func (p place) hide(from, to int) {
	if to > from {
		p.found.end = max(p.found.end, to)
		p.found.spans = append(p.found.spans, span{from, to})
	}
}

func words(s string) []string { return strings.Fields(s) }

// each joins a word with each of the characters.
func each(before, characters, after string) (anchors []string) {
	for _, c := range characters {
		anchors = append(anchors, before+string(c)+after)
	}
	return anchors
}

// Sources of the shapes. The patterns are our own, and looser: a token that is
// cut off, or of next year's length, is one, too.
const (
	gitleaks = "gitleaks, config/gitleaks.toml, 2026-07" // github.com/gitleaks/gitleaks
	github   = "GitHub, supported secret scanning patterns, 2026-07"
	both     = gitleaks + "; " + github
	azure    = "Azure Storage: service SAS, connection strings; " + github
	aws      = "AWS: IAM identifiers, Signature Version 4; " + both
	rfc      = "RFC 3986 3.2.1 (userinfo), 6750 (bearer), 7617 (basic), 9110 11.6.2 (authorization)"
	usage    = "what commands and programs print; gitleaks' generic-api-key, curl-auth-user, curl-auth-header"
)

// shapes is the table. A new row needs lines in testdata/redact.
var shapes = []shape{
	// Forges and CI.
	{name: "github", source: both, anchors: words("ghp_ gho_ ghu_ ghs_ ghr_"), token: `gh[pousr]_[A-Za-z0-9_.-]{20,}`},
	{name: "github fine-grained", source: both, anchors: words("github_pat_"), token: `github_pat_[A-Za-z0-9_]{20,}`},
	{name: "gitlab", source: both, anchors: words("glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glffct- glimt- glagent- glsoat- gloas- glwt-"),
		token: `gl(pat|dt|rtr?|cbt|ptt|ft|ffct|imt|agent|soat|oas|wt)-[A-Za-z0-9_.-]{16,}`},
	{name: "gitlab runner registration", source: gitleaks, anchors: words("gr1348941"), token: `GR1348941[A-Za-z0-9_-]{16,}`},
	{name: "gitlab session", source: gitleaks, anchors: words("_gitlab_session="), find: afterAnchor},
	{name: "atlassian", source: both, anchors: words("atatt3 atctt3 atbb"), token: `\bAT(ATT3|CTT3|BB)[A-Za-z0-9_=.-]{16,}`},
	{name: "buildkite", source: github, anchors: words("bkua_ bkaj_"), token: `bk(ua|aj)_[A-Za-z0-9]{20,}`},
	{name: "circleci", source: github, anchors: words("ccipat_ cciprj_"), token: `cci(pat|prj)_[A-Za-z0-9_]{20,}`},
	{name: "artifactory", source: gitleaks, anchors: words("akcp cmvmd"), token: `\b(AKCp|cmVmd)[A-Za-z0-9]{40,}`},
	{name: "npm", source: both, anchors: words("npm_"), token: `npm_[A-Za-z0-9]{30,}`},
	{name: "pypi", source: both, anchors: words("pypi-ageichlwas5vcmc"), token: `pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]*`},
	{name: "rubygems", source: both, anchors: words("rubygems_"), token: `rubygems_[a-f0-9]{20,}`},
	{name: "clojars", source: gitleaks, anchors: words("clojars_"), token: `(?i)CLOJARS_[a-z0-9]{40,}`},
	{name: "docker hub", source: github, anchors: words("dckr_pat_ dckr_oat_"), token: `dckr_[po]at_[A-Za-z0-9_-]{20,}`},
	{name: "octopus deploy", source: gitleaks, anchors: words("api-"), token: `\bAPI-[A-Z0-9]{25,}`},
	{name: "sourcegraph", source: gitleaks, anchors: words("sgp_"), token: `\bsgp_[A-Za-z0-9_]{20,}`},
	{name: "sonarqube", source: gitleaks, anchors: words("squ_ sqp_ sqa_"), token: `\bsq[upa]_[a-f0-9]{30,}`},

	// Clouds and what Terraform talks to.
	{name: "aws key", source: aws, anchors: words("akia asia abia acca aroa aida"), token: `\b(AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}`},
	{name: "aws session token", source: aws, anchors: words("iqojb3jpz2lu fwogzxivyxdz fqogzxivyxdz"), token: `(IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz)[A-Za-z0-9+/=%_-]*`},
	{name: "aws bedrock", source: gitleaks, anchors: words("absk bedrock-api-key-"), token: `\b(ABSK[A-Za-z0-9+/=]{60,}|bedrock-api-key-[A-Za-z0-9+/=]{20,})`},
	{name: "google key", source: both, anchors: words("aiza"), token: `AIza[A-Za-z0-9_-]{30,}`},
	{name: "google access token", source: github, anchors: words("ya29."), token: `\bya29\.[A-Za-z0-9_.-]{20,}`},
	{name: "google refresh token", source: github, anchors: words("1//0"), token: `\b1//0[A-Za-z0-9_-]{30,}`},
	{name: "google oauth secret", source: github, anchors: words("gocspx-"), token: `GOCSPX-[A-Za-z0-9_-]{16,}`},
	{name: "entra client secret", source: gitleaks, before: 3, anchors: each("", "0123456789", "q~"), token: `\b[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{30,}`},
	{name: "azure shared access signature", source: azure, anchors: words("sig="), find: query},
	{name: "aws and google signed urls", source: aws, anchors: words("x-amz-signature= x-goog-signature="), find: afterAnchor},
	{name: "alibaba", source: both, anchors: words("ltai"), token: `\bLTAI[A-Za-z0-9]{12,}`},
	{name: "digitalocean", source: both, anchors: words("dop_v1_ doo_v1_ dor_v1_"), token: `do[por]_v1_[a-f0-9]{20,}`},
	{name: "fly.io", source: gitleaks, anchors: words("fo1_ fm1a_ fm1r_ fm2_"), token: `\bf(o1|m1[ar]|m2)_[A-Za-z0-9+/=_-]{30,}`},
	{name: "heroku", source: gitleaks, anchors: words("hrku-aa"), token: `HRKU-AA[A-Za-z0-9_-]{20,}`},
	{name: "cloudflare origin", source: gitleaks, anchors: words("v1.0-"), token: `\bv1\.0-[a-f0-9]{20,}-[a-f0-9]{60,}`},
	{name: "hashicorp vault", source: both, anchors: words("hvs. hvb. hvr."), token: `\bhv[sbr]\.[A-Za-z0-9_-]{20,}`},
	{name: "terraform cloud", source: both, before: 14, anchors: words(".atlasv1."), token: `\b?[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}`},
	{name: "pulumi", source: both, anchors: words("pul-"), token: `\bpul-[a-f0-9]{30,}`},
	{name: "doppler", source: both, anchors: words("dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit."), token: `\bdp\.(pt|st|ct|sa|scim|audit)\.([a-z0-9_-]+\.)?[A-Za-z0-9]{30,}`},
	{name: "infracost", source: gitleaks, anchors: words("ico-"), token: `\bico-[A-Za-z0-9]{30,}`},
	{name: "databricks", source: both, anchors: words("dapi"), token: `\bdapi[a-f0-9]{30,}(-[0-9])?`},
	{name: "planetscale", source: both, anchors: words("pscale_tkn_ pscale_oauth_ pscale_pw_"), token: `pscale_(tkn|oauth|pw)_[A-Za-z0-9_=.-]{20,}`},
	{name: "supabase", source: github, anchors: words("sbp_"), token: `\bsbp_[a-z0-9]{20,}`},
	{name: "neon", source: github, anchors: words("napi_"), token: `\bnapi_[a-z0-9]{20,}`},
	{name: "aiven", source: github, anchors: words("avns_"), token: `AVNS_[A-Za-z0-9_-]{12,}`},
	{name: "clickhouse", source: gitleaks, anchors: words("4b1d"), token: `\b4b1d[A-Za-z0-9]{38}`},
	{name: "openshift", source: gitleaks, anchors: words("sha256~"), token: `sha256~[A-Za-z0-9_-]{30,}`},
	{name: "1password", source: gitleaks, anchors: words("ops_eyj a3-"), token: `\b(ops_eyJ[A-Za-z0-9+/=_-]{20,}|A3-[A-Z0-9]{6}-[A-Z0-9-]{20,})`},
	{name: "tailscale", source: github, anchors: words("tskey-"), token: `tskey-[a-z]+-[A-Za-z0-9-]{16,}`},
	{name: "rancher", source: github, anchors: words("token-"), token: `\btoken-[a-z0-9]{5}:[a-z0-9]{40,}`},
	{name: "prefect", source: both, anchors: words("pnu_ pnb_"), token: `\bpn[ub]_[A-Za-z0-9]{30,}`},
	{name: "harness", source: gitleaks, anchors: words("pat. sat."), token: `\b[ps]at\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9]{20,}\.[A-Za-z0-9]{16,}`},

	// Watching, mail, chat, payment, models.
	{name: "datadog", source: github, anchors: words("ddapi_ ddapp_"), token: `\bddap[ip]_[A-Za-z0-9]{20,}`},
	{name: "grafana", source: both, anchors: words("glc_ glsa_"), token: `\b(glc_[A-Za-z0-9+/=]{20,}|glsa_[A-Za-z0-9_]{20,})`},
	{name: "new relic", source: both, anchors: words("nrak- nrii- nrjs- nrra-"), token: `NR(AK|II|JS|RA)-[A-Za-z0-9-]{16,}`},
	{name: "dynatrace", source: both, anchors: words("dt0c01. dt0s01."), token: `dt0[a-z][0-9]{2}\.[A-Za-z0-9]{20,}\.[A-Za-z0-9]{40,}`},
	{name: "sentry", source: both, anchors: words("sntrys_ sntryu_"), token: `sntry[su]_[A-Za-z0-9+/=_-]{20,}`},
	{name: "pagerduty", source: github, anchors: words("pdus+"), token: `pdus\+[A-Za-z0-9_+-]{16,}`},
	{name: "honeycomb", source: github, anchors: words("hcaik_ hcalk_ hcxik_ hcxmk_"), token: `hc[ax][a-z0-9]{0,2}[im]k_[A-Za-z0-9]{20,}`},
	{name: "launchdarkly", source: github, anchors: words("api- sdk- mob-"), token: `\b(api|sdk|mob)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}`},
	{name: "sendgrid", source: both, anchors: words("sg."), token: `\bSG\.[A-Za-z0-9_-]{16,}(\.[A-Za-z0-9_-]+)?`},
	{name: "mailgun", source: both, anchors: words("key-"), token: `\bkey-[a-f0-9]{32}`},
	{name: "mailchimp", source: github, before: 32, anchors: words("-us1 -us2"), token: `\b[a-f0-9]{32}-us[0-9]{1,2}`},
	{name: "brevo", source: gitleaks, anchors: words("xkeysib- xsmtpsib-"), token: `x(key|smtp)sib-[a-f0-9]{40,}-[A-Za-z0-9]+`},
	{name: "slack", source: both, anchors: words("xoxa xoxb xoxc xoxd xoxe xoxo xoxp xoxr xoxs xapp-"), token: `(xox[a-z][.-]|xapp-)[A-Za-z0-9.%-]{10,}`},
	{name: "slack webhook", source: both, anchors: words("hooks.slack.com/"), token: `(?i)hooks\.slack\.com/(services|workflows|triggers)/[A-Za-z0-9/_-]+`},
	{name: "teams webhook", source: gitleaks, anchors: words(".webhook.office.com/ .logic.azure.com"), find: path},
	{name: "discord webhook", source: github, anchors: words("discord.com/api/webhooks/ discordapp.com/api/webhooks/"), token: `(?i)discord(app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]+`},
	{name: "telegram", source: both, anchors: words(":aa"), find: botToken},
	{name: "twilio", source: both, anchors: each("sk", "0123456789abcdef", ""), token: `\bSK[0-9a-f]{32}`},
	{name: "stripe", source: both, anchors: words("sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_ pk_live_ pk_test_ whsec_"), token: `\b([srp]k_(live|test|prod)_|whsec_)[A-Za-z0-9+/=]{10,}`},
	{name: "square", source: both, anchors: words("sq0atp- sq0csp- eaaa"), token: `\b(sq0(atp|csp)-[A-Za-z0-9_-]{20,}|EAAA[A-Za-z0-9_-]{50,})`},
	{name: "shopify", source: both, anchors: words("shpat_ shpca_ shppa_ shpss_"), token: `shp(at|ca|pa|ss)_[a-fA-F0-9]{20,}`},
	{name: "openai and kin", source: both, anchors: words("sk-"), token: `\bsk-[A-Za-z0-9_-]{20,}`},
	{name: "hugging face", source: both, anchors: words("hf_ api_org_"), token: `\b(hf|api_org)_[A-Za-z0-9]{30,}`},
	{name: "other models", source: both, anchors: words("pplx- gsk_ xai- r8_"), token: `\b(pplx-|gsk_|xai-|r8_)[A-Za-z0-9]{30,}`},
	{name: "linear, notion, postman, readme", source: both, anchors: words("lin_api_ lin_oauth_ ntn_ pmak- rdme_ figd_"), token: `\b(lin_(api|oauth)_|ntn_|PMAK-|rdme_|figd_)[A-Za-z0-9_-]{30,}`},
	{name: "easypost, duffel, frame.io, flutterwave", source: gitleaks, anchors: words("ezak eztk duffel_ fio-u- flwseck"),
		token: `\b(EZ[AT]K[A-Za-z0-9]{40,}|duffel_(test|live)_[A-Za-z0-9_=-]{20,}|fio-u-[A-Za-z0-9_=-]{30,}|FLWSECK[A-Z_]*-[A-Za-z0-9]{12,}(-X)?)`},
	{name: "maxmind", source: gitleaks, before: 36, anchors: words("_mmk"), token: `\b[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk`},
	{name: "adobe, intra42, settlemint", source: gitleaks, anchors: words("p8e- s-s4t2 sm_aat_ sm_pat_ sm_sat_"), token: `\b(p8e-[a-z0-9]{30,}|s-s4t2(ud|af)-[a-f0-9]{40,}|sm_[aps]at_[A-Za-z0-9]{16,})`},
	{name: "shippo, yandex", source: gitleaks, anchors: words("shippo_ aqvn t1."), token: `\b(shippo_(live|test)_[a-fA-F0-9]{30,}|AQVN[A-Za-z0-9_-]{30,}|t1\.[A-Za-z0-9_-]+=*\.[A-Za-z0-9_-]{60,})`},

	// Of no one in particular.
	{name: "jwt", source: both, anchors: words("eyj ewog"), token: `\b(eyJ|ewog)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_=-]*){0,3}`},
	{name: "jwt in base64", source: gitleaks, anchors: words("zxlk"), token: `\bZXlK[A-Za-z0-9+/=]{30,}`},
	{name: "age", source: gitleaks, anchors: words("age-secret-key-1"), token: `(?i)AGE-SECRET-KEY-1[A-Z0-9]{20,}`},
	{name: "private key", source: both, anchors: words("key-----"), find: privateKey},
	{name: "private key block", source: both, anchors: []string{"private key block-----", "private key ----"}, find: privateKey},
	{name: "putty key", source: usage, anchors: words("private-lines:"), find: rest},
	{name: "url password", source: rfc, anchors: words("://"), find: userinfo},
	{name: "mysql data source", source: github, anchors: words("@tcp( @unix("), find: dataSource},
	{name: "authorization header", source: rfc, anchors: words("authorization"), find: authorization},
	{name: "bearer or basic", source: rfc, anchors: words("bearer basic"), find: scheme},
	{name: "cookie header", source: usage, anchors: words("cookie:"), find: header},
	{name: "curl user", source: usage, anchors: words("curl"), find: curlUser},
	{name: "user option", source: usage, anchors: words("--user --proxy-user"), find: userOption},
	{name: "password of a login", source: usage, anchors: words("login sshpass mysql mariadb"), find: loginPassword},
	{name: "terraform variable", source: "Terraform CLI: -var, -backend-config, TF_VAR_name", anchors: []string{"-var ", "-var=", "-backend-config", "tf_var_"}, find: variable},
	{name: "named value", source: usage, find: named, anchors: []string{
		"passw", "passphrase", "pass_phrase", "secret", "token", "credential", "api_key", "api-key", "apikey", "api key", "app_key", "app-key",
		"application_key", "application-key", "access_key", "access-key", "accesskey", "access key", "account_key", "accountkey", "account key",
		"private_key", "private-key", "privatekey", "shared_key", "sharedkey", "shared-key", "subscription-key", "subscription_key", "signing_key",
		"encryption_key", "master_key", "license_key", "storage_key", "session_key", "client_key", "key-data", "key_data", "deploy_key", "service_key",
		"sharedaccesssignature", "signature", "pwd", "_auth", "\"auth\"", "connectionstring", "connection_string", "conn_str", "secretkey"}},
}

// known finds the anchors of all shapes; a kind is the number of one.
var known = sync.OnceValue(func() *literals {
	l := newLiterals()
	for i, s := range shapes {
		for _, anchor := range s.anchors {
			l.add(anchor, true, i)
		}
	}
	return l
})

// later compiles an expression when it is first needed: a program that starts and ends
// needs few of them.
func later(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var patterns = func() []func() *regexp.Regexp {
	compiled := make([]func() *regexp.Regexp, len(shapes))
	for i := range shapes {
		compiled[i] = later(`^(?:` + strings.TrimPrefix(strings.TrimPrefix(shapes[i].token, `\b?`), `\b`) + `)`)
	}
	return compiled
}()

// window is how far after an anchor a token is looked for. One that is longer is
// followed to its end.
const window = 1 << 10

// tryShape hides what a shape finds at an anchor.
func tryShape(i int, p place) {
	s := &shapes[i]
	if s.find != nil {
		s.find(p)
		return
	}
	from := p.from - s.before
	if from < 0 || strings.HasPrefix(s.token, `\b`) && !strings.HasPrefix(s.token, `\b?`) && !atWord(p.text, from) {
		return
	}
	end := min(from+window, len(p.text))
	found := patterns[i]().FindStringIndex(p.text[from:end])
	if found == nil {
		return
	}
	to := from + found[1]
	if to == end {
		to = wordEnd(p.text, to)
	}
	p.hide(from, to)
}

// atWord says whether a word may begin there: no letter or digit stands before,
// unless as the end of an escape such as \n or %3D.
func atWord(text string, at int) bool {
	if at == 0 || !isWordByte(text[at-1]) {
		return true
	}
	return at > 1 && text[at-2] == '\\' && strings.IndexByte("nrt", text[at-1]) >= 0 ||
		at > 2 && text[at-3] == '%' && isHex(text[at-2]) && isHex(text[at-1])
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// wordEnd is where what has no blank and no quote in it ends.
func wordEnd(text string, at int) int {
	for at < len(text) && !endsWord[text[at]] {
		at++
	}
	return at
}

var endsWord = func() (table [256]bool) {
	for _, c := range " \t\r\n\"'`<>" {
		table[c] = true
	}
	return table
}()

// lineEnd is where the line ends.
func lineEnd(text string, at int) int {
	for at < len(text) && text[at] != '\n' && text[at] != '\r' {
		at++
	}
	return at
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
