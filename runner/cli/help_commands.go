package cli

import "slices"

// What the manual has of each command beside its flags: where it is listed, examples, and
// the flags that are used most. Tests hold all of it against the commands.

var commandGroups = []struct{ name, title string }{
	{"deploy", "Deploy"},
	{"look", "Look"},
	{"correct", "Correct"},
	{"set up", "Set up, and share"},
}

type commandText struct {
	group    string
	flags    []string // that -h shows
	examples []example
}

type example struct{ says, line string }

var commandTexts = map[string]commandText{
	"": {examples: []example{
		{"Deploy what changed; again, to run what did not succeed", "tmnotes run --changed -- terraform apply -auto-approve"},
		{"See the latest result of each stack", "tmnotes status"},
		{"Find out since when a stack fails, and why", "tmnotes blame /prod/db"},
	}},
	"run": {"deploy", []string{"changed", "pending", "tags", "status", "target", "parallel", "dry-run", "force", "op", "retry"}, []example{
		{"Deploy the stacks that changed", "tmnotes run --changed -- terraform apply -auto-approve"},
		{"Deploy what is not deployed yet, eight stacks at once", "tmnotes run --pending -j 8 -- terraform apply -auto-approve"},
		{"Only the stacks that failed last time", "tmnotes run --status failed -- terraform apply -auto-approve"},
		{"Look for drift", "tmnotes run --op drift -- terraform plan -detailed-exitcode"},
		{"Look for it in a few stacks each time", "tmnotes run --op drift --oldest 50 -- terraform plan -detailed-exitcode"},
		{"Canaries first, then the rest", "tmnotes run --wave tag:canary --wave '*' -- terraform apply -auto-approve"},
		{"A deployment by a program of your own", "tmnotes run --op deploy --retry 2 -- ./deploy.sh"},
		{"Destroy the stacks that are gone from the code", "tmnotes run --orphaned -- terraform destroy -auto-approve"},
	}},
	"script": {"deploy", nil, []example{
		{"Deploy the stacks that changed, with the script \"deploy\"", "tmnotes script run --changed deploy"},
	}},
	"script run": {"", []string{"changed", "pending", "tags", "status", "target", "parallel", "dry-run", "force", "op", "retry"}, []example{
		{"Run the script with the labels \"db migrate\" where it is pending", "tmnotes script run --pending db migrate"},
		{"See what would run", "tmnotes script run --changed --dry-run deploy"},
	}},
	"exec": {"deploy", []string{"op", "target", "force", "retry", "timeout"}, []example{
		{"Inside your own terramate run", "terramate run --changed -- tmnotes exec -- terraform apply -auto-approve"},
		{"A deployment by a program of your own", "tmnotes exec --op deploy -- ./deploy.sh"},
	}},
	"cloud": {"deploy", []string{"sync", "keep-logs", "on-change"}, []example{
		{"Your own terramate, recorded as git notes", "tmnotes cloud -- terramate script run deploy"},
		{"What failed, again", "tmnotes cloud -- terramate run --status=failed --sync-deployment -- make apply"},
	}},
	"matrix": {"deploy", []string{"format", "out", "jobs", "pending", "changed", "script"}, []example{
		{"Divide a deployment among the jobs of a GitHub workflow", "tmnotes matrix --pending --format github --out legs -- terraform apply"},
		{"See what the legs would be", "tmnotes matrix --changed --jobs 4 -- terraform apply"},
	}},
	"trigger": {"deploy", []string{"reason", "recursive", "note", "status", "ignore-change"}, []example{
		{"Have a stack deployed again with the next commit", "tmnotes trigger --reason 'rotated secret' /prod/db"},
		{"Without a commit", "tmnotes trigger --note --reason 'rotated secret' /prod/db"},
	}},
	"hold": {"deploy", []string{"reason", "until", "tags", "all", "target"}, []example{
		{"Keep everybody from deploying a stack for now", "tmnotes hold --reason 'migration under way' /prod/db"},
		{"Deploy nothing over the holidays", "tmnotes hold --all --until 2099-01-07 --reason 'change freeze'"},
	}},
	"release": {"deploy", []string{"reason", "tags", "all", "target"}, []example{
		{"Let a stack be deployed again", "tmnotes release /prod/db"},
		{"End what hold --all began", "tmnotes release --all"},
	}},
	"runs": {"look", []string{"limit", "op", "target", "format"}, []example{
		{"The last runs: who ran what, and what came of it", "tmnotes runs"},
		{"Those that had a stack", "tmnotes runs --limit 5 /prod/db"},
	}},
	"status": {"look", []string{"status", "tags", "target", "at", "format"}, []example{
		{"What needs attention", "tmnotes status --status unhealthy"},
		{"What was deployed at a release", "tmnotes status --at v1.2"},
	}},
	"log": {"look", []string{"n", "op", "run", "target", "format"}, []example{
		{"The last five results of a stack", "tmnotes log -n 5 /prod/db"},
		{"Everything that one run did", "tmnotes log --run 01JDXW5V0Q3N8Y6Z4T2R7K9M1C"},
	}},
	"show": {"look", []string{"plan", "log", "run", "target", "format"}, []example{
		{"The records of a commit", "tmnotes show HEAD~1"},
		{"The plan of a stack's latest drift", "tmnotes show --plan /prod/db"},
	}},
	"blame": {"look", []string{"op", "target", "format"}, []example{
		{"Since when a stack fails, and what changed before", "tmnotes blame /prod/db"},
	}},
	"where": {"look", []string{"target", "format"}, []example{
		{"Which stacks have what a commit changed, and why the others do not", "tmnotes where HEAD~1"},
		{"How far a pull request has got in production", "tmnotes where --target prod '#12'"},
	}},
	"flaky": {"look", []string{"since", "op", "target", "format"}, []example{
		{"Flaky stacks of the last month", "tmnotes flaky --since '1 month ago'"},
	}},
	"list": {"look", []string{"changed", "pending", "status", "tags", "why", "run-order", "format"}, []example{
		{"What would be deployed, and why", "tmnotes list --pending --why"},
		{"The stacks that failed, in order of execution", "tmnotes list --status failed --run-order"},
	}},
	"preview": {"look", []string{"base", "tags", "target", "wave", "parallel", "format"}, []example{
		{"What merging this branch would deploy", "tmnotes preview"},
		{"For a comment on a pull request into another branch", "tmnotes preview --base origin/release --format markdown"},
	}},
	"comment": {"look", []string{"pr", "target", "base", "forge", "forge-url"}, []example{
		{"In a job of a pull request, and after each deployment", "tmnotes comment"},
		{"For a target, on the pull request 12", "tmnotes comment --target prod --pr 12"},
	}},
	"report": {"look", []string{"html", "json", "markdown", "junit", "prometheus", "target"}, []example{
		{"A page for the team", "tmnotes report --html status.html"},
		{"Metrics for node_exporter", "tmnotes report --prometheus /var/lib/node_exporter/tmnotes.prom"},
	}},
	"mark": {"correct", []string{"reason", "status", "op", "commit", "target"}, []example{
		{"Somebody deployed a stack by hand", "tmnotes mark --reason 'applied from a laptop' /prod/db"},
		{"A stack is gone", "tmnotes mark --op destroy --reason 'removed in the console' /prod/old"},
	}},
	"adopt": {"correct", []string{"reason", "all", "tags", "commit", "target"}, []example{
		{"Begin with a project that is deployed already", "tmnotes adopt --all --reason 'deployed by the old pipeline'"},
	}},
	"forget": {"correct", []string{"reason", "stack", "run", "all", "dry-run"}, []example{
		{"Remove what was recorded for a stack at HEAD", "tmnotes forget --reason 'wrong account' --stack /prod/db"},
	}},
	"unlock": {"correct", []string{"reason", "all", "target", "format"}, []example{
		{"See which stacks are locked, by whom", "tmnotes unlock"},
		{"Remove a lock whose holder is gone", "tmnotes unlock --reason 'the runner died' /prod/db"},
	}},
	"init": {"set up", []string{"ci", "command", "deployed", "yes"}, []example{
		{"Begin in a repository, with three questions", "tmnotes init"},
		{"Without questions", "tmnotes init --ci gitlab --command 'make deploy' --deployed yes --yes"},
	}},
	"doctor": {"set up", []string{"format", "sync", "remote"}, []example{
		{"Before the first deployment from a machine", "tmnotes doctor"},
		{"Without asking the remote", "tmnotes doctor --sync off"},
	}},
	"setup": {"set up", []string{"undo", "remote"}, []example{
		{"Let git log show the notes", "tmnotes setup"},
		{"Use records that are in a repository of their own", "tmnotes setup --remote ledger"},
	}},
	"sync": {"set up", []string{"remote", "sync"}, []example{
		{"Exchange notes with the remote", "tmnotes sync"},
		{"Those of plans and the like, too", "tmnotes sync --sync require"},
	}},
	"fetch": {"set up", []string{"remote"}, []example{{"See what others have deployed", "tmnotes fetch"}}},
	"push":  {"set up", []string{"remote", "sync"}, []example{{"Send what could not be pushed", "tmnotes push"}}},
	"serve": {"set up", []string{"listen", "token-file", "keep-logs"}, []example{
		{"A page of the stacks, and Terramate Cloud's API", "tmnotes serve --listen 127.0.0.1:8080"},
	}},
	"verify": {"look", []string{"since", "run", "allowed-signers", "format"}, []example{
		{"Which runs were signed, and by whom", "tmnotes verify --since '1 month ago'"},
		{"In an audit, of a release", "tmnotes verify --json v1.2"},
	}},
	"check": {"set up", []string{"format"}, []example{{"Read all notes", "tmnotes check"}}},
	"completion": {"set up", nil, []example{
		{"bash, in ~/.bashrc", "source <(tmnotes completion bash)"},
		{"zsh, in ~/.zshrc after compinit", "source <(tmnotes completion zsh)"},
		{"fish, in ~/.config/fish/config.fish", "tmnotes completion fish | source"},
	}},
	"version": {"set up", nil, []example{{"Which Terramate this works as", "tmnotes version"}}},
	"help": {"set up", []string{"man"}, []example{
		{"What the status words mean", "tmnotes help statuses"},
		{"Write man pages, and read one", "tmnotes help --man man && man -l man/tmnotes-run.1"},
	}},
}

func examplesText(command string) (text string) {
	for i, e := range commandTexts[command].examples {
		if i > 0 {
			text += "\n"
		}
		text += "# " + e.says + "\n" + e.line + "\n"
	}
	return text
}

const (
	notesAndRemote = "Records and remote"
	general        = "General"
)

// flagGroups are the flags that several commands have. The others are a command's own, and
// stand first.
var flagGroups = []struct {
	title string
	flags []string
}{
	{"Flags", nil},
	{"Selection", []string{"changed", "git-change-base", "tags", "no-tags", "status", "deployment-status", "drift-status", "pending", "init", "orphaned", "oldest", "min-interval", "target", "no-recursive",
		"enable-change-detection", "disable-change-detection"}},
	{"Dependencies", []string{"include-all-dependencies", "include-direct-dependencies", "only-all-dependencies", "only-direct-dependencies", "exclude-all-dependencies",
		"include-all-dependents", "include-direct-dependents", "only-all-dependents", "only-direct-dependents", "exclude-all-dependents"}},
	{"Execution", []string{"op", "parallel", "dry-run", "reverse", "force", "resume", "allow-rollback", "respect-order", "fail-fast", "continue-on-error", "retry", "retry-on", "timeout", "max-destroy",
		"eval", "enable-sharing", "mock-on-fail"}},
	{"Waves", []string{"wave", "max-failures", "soak", "gate"}},
	{"Safeguards", []string{"X", "disable-safeguards", "locks", "on-locked", "lease", "break-hold"}},
	{"Legs of a pipeline", []string{"run", "stacks-from", "wait", "wait-timeout"}},
	{"Output", []string{"quiet", "output", "format", "json", "report", "plan-file", "keep-logs", "on-change", "issues", "max-open-issues", "metrics-stacks"}},
	{notesAndRemote, []string{"sync", "push-interval", "ref", "remote", "stale-after", "network-timeout", "forge", "forge-url"}},
	{general, []string{"chdir"}},
}

// groupOf is the group in which a flag is listed: of a command that has few, those that say
// where the notes are stand apart, and no others.
func groupOf(flag string, few bool) string {
	for _, g := range flagGroups {
		if slices.Contains(g.flags, flag) && (!few || g.title == notesAndRemote || g.title == general) {
			return g.title
		}
	}
	return flagGroups[0].title
}
