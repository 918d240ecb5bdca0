package cli

import (
	"math"
	"strconv"

	"github.com/tmnotes/tmnotes/runner/deploy"
)

// detectCI knows the CIs whose variables it has read of; the sources are in its test.
func detectCI(getenv func(string) string) deploy.CI {
	// A record takes no greater number. What is compared are tries of one job, whose
	// numbers are near each other.
	number := func(key string) int {
		n, _ := strconv.ParseInt(getenv(key), 10, 64)
		return int(max(n, 0) & math.MaxInt32)
	}
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		// Both are of the workflow's run: no job of it goes on in the next attempt.
		j := deploy.CI{Name: "github", Attempt: number("GITHUB_RUN_ATTEMPT"), By: getenv("GITHUB_ACTOR")}
		if getenv("GITHUB_REPOSITORY") != "" {
			j.Job = getenv("GITHUB_SERVER_URL") + "/" + getenv("GITHUB_REPOSITORY") + "/actions/runs/" + getenv("GITHUB_RUN_ID")
		}
		return j
	case getenv("GITLAB_CI") == "true":
		// A job that is retried has another id and URL; what stays is the
		// pipeline and the job's name, and the id grows.
		j := deploy.CI{Name: "gitlab", Attempt: number("CI_JOB_ID"), By: getenv("GITLAB_USER_NAME")}
		if mail := getenv("GITLAB_USER_EMAIL"); mail != "" {
			j.By += " <" + mail + ">"
		}
		if url := getenv("CI_PIPELINE_URL"); url != "" {
			j.Job = url + "#" + getenv("CI_JOB_NAME")
		}
		return j
	case getenv("BUILDKITE_BUILD_URL") != "":
		return buildkite(getenv, number("BUILDKITE_RETRY_COUNT"))
	}
	// The URL of these is another one with every try.
	for _, of := range []struct{ name, job, by string }{
		{"circleci", "CIRCLE_BUILD_URL", "CIRCLE_USERNAME"},
		{"jenkins", "BUILD_URL", "BUILD_USER"},
	} {
		if url := getenv(of.job); url != "" {
			return deploy.CI{Name: of.name, Job: url, By: getenv(of.by)}
		}
	}
	if ci := getenv("CI"); ci != "" && ci != "false" && ci != "0" {
		return deploy.CI{Name: "ci"}
	}
	return deploy.CI{}
}

// buildkite names the job by its step, since retries are counted for each job, and the
// build's URL is that of all of them. What a step's jobs are told apart by are their
// numbers, and in a matrix their labels.
func buildkite(getenv func(string) string, retries int) deploy.CI {
	j := deploy.CI{Name: "buildkite", Job: getenv("BUILDKITE_BUILD_URL"), By: getenv("BUILDKITE_BUILD_CREATOR")}
	step := getenv("BUILDKITE_STEP_ID")
	if step == "" {
		return j // whose retries they are is not known
	}
	j.Attempt = retries
	j.Job += "#" + step
	for _, part := range []string{getenv("BUILDKITE_PARALLEL_JOB"), getenv("BUILDKITE_LABEL")} {
		if part != "" {
			j.Job += "/" + part
		}
	}
	return j
}
