package cli

import "strconv"

// ciJob is the CI job that tmnotes runs in, as its environment says: for whom
// it works, where its log is, and the how-manieth try it is. An attempt with a
// higher number means that the earlier ones of the same job are over.
type ciJob struct {
	name    string // "github", "gitlab", another, or "" for none
	job     string
	attempt int
	by      string
}

func detectCI(getenv func(string) string) ciJob {
	number := func(key string) int {
		n, _ := strconv.Atoi(getenv(key))
		return max(n, 0)
	}
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		j := ciJob{name: "github", attempt: number("GITHUB_RUN_ATTEMPT"), by: getenv("GITHUB_ACTOR")}
		if getenv("GITHUB_REPOSITORY") != "" {
			j.job = getenv("GITHUB_SERVER_URL") + "/" + getenv("GITHUB_REPOSITORY") + "/actions/runs/" + getenv("GITHUB_RUN_ID")
		}
		return j
	case getenv("GITLAB_CI") == "true":
		// A job that is retried has another id and URL; what stays is the
		// pipeline and the job's name, and the id grows.
		j := ciJob{name: "gitlab", attempt: number("CI_JOB_ID"), by: getenv("GITLAB_USER_NAME")}
		if mail := getenv("GITLAB_USER_EMAIL"); mail != "" {
			j.by += " <" + mail + ">"
		}
		if url := getenv("CI_PIPELINE_URL"); url != "" {
			j.job = url + "#" + getenv("CI_JOB_NAME")
		}
		return j
	}
	for _, of := range []struct{ name, job, attempt, by string }{
		{"buildkite", "BUILDKITE_BUILD_URL", "BUILDKITE_RETRY_COUNT", "BUILDKITE_BUILD_CREATOR"},
		{"circleci", "CIRCLE_BUILD_URL", "", "CIRCLE_USERNAME"},
		{"jenkins", "BUILD_URL", "", "BUILD_USER"},
	} {
		if url := getenv(of.job); url != "" {
			j := ciJob{name: of.name, job: url, by: getenv(of.by)}
			if of.attempt != "" {
				j.attempt = number(of.attempt)
			}
			return j
		}
	}
	if ci := getenv("CI"); ci != "" && ci != "false" && ci != "0" {
		return ciJob{name: "ci"}
	}
	return ciJob{}
}
