//go:build ignore

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
)

// The rows about what must not grow out of hand.

// planned is what Terraform prints of a plan, over and over.
func planned(size int) string {
	const block = `  # module.network.aws_subnet.private["eu-central-1a"] will be updated in-place
  ~ resource "aws_subnet" "private" {
        id                                  = "subnet-0a1b2c3d4e5f60718"
      ~ tags                                = {
          + "Name"        = "private-eu-central-1a"
            "environment" = "production"
        }
        arn                                 = "arn:aws:ec2:eu-central-1:123456789012:subnet/subnet-0a1b2c3d4e5f60718"
        # (20 unchanged attributes hidden)
    }

  # module.database.aws_db_instance.main will be created
  + resource "aws_db_instance" "main" {
      + endpoint                    = (known after apply)
      + password                    = (sensitive value)
      + kms_key_id                  = "arn:aws:kms:eu-central-1:123456789012:key/8a1f0b1c-2d3e-4f50-8a1f-0b1c2d3e4f50"
      + url                         = "https://console.aws.amazon.com/rds/home?region=eu-central-1"
      + db_name                     = "orders"
    }
`
	return strings.Repeat(block, size/len(block)+1)[:size]
}

// redaction measures what it costs to hide secrets in all that a run prints and
// keeps, in shares of the CPU time of that run: of stacks whose whole output is kept,
// and of one whose output is kept in part.
func (b *bench) redaction() {
	mega := b.n(100)
	text := planned(gitstate.TextLimit)
	for _, stacks := range []int{mega << 20 / gitstate.TextLimit, 1} {
		name := fmt.Sprintf("hiding secrets / drift run that prints %d MB, %d stacks", mega, stacks)
		if !b.want(name) {
			continue
		}
		dir := b.project(fmt.Sprintf("printing%d", stacks), stacks)
		output := filepath.Join(b.dir, "output")
		write(output, planned(mega<<20/stacks))
		var env []string
		for i := range 10 {
			env = append(env, fmt.Sprintf("TF_VAR_x%d=secret-%d-of-many", i, i))
		}
		var shares []float64
		var detail string
		for range *pairs + 1 {
			b.git(dir, "commit", "-q", "--allow-empty", "-m", "next")
			run := b.cpu(dir, *tmnotes, "run", "-X", "-j2", "--sync=off", "--op", "drift", "--", "sh", "-c", "cat "+output+"; exit 2")
			start := used()
			for range stacks {
				if hidden := gitstate.NewRedactor(append(os.Environ(), env...)).Hide(text); len(hidden) != len(text) {
					fatal("a plan without secrets was changed")
				}
			}
			took := used() - start
			shares = append(shares, took.Seconds()/run.Seconds())
			detail = fmt.Sprintf("last: %v / %v", took.Round(time.Millisecond), run.Round(time.Millisecond))
		}
		b.row(name, median(shares[1:])*100, 5, "%", detail)
		b.kept(dir)
	}
}

// kept checks that the measured run kept its output.
func (b *bench) kept(dir string) {
	if out := b.git(dir, "ls-tree", "-r", "refs/notes/tmnotes-texts"); !strings.Contains(out, "/plan/") {
		fatal("the run kept no plan")
	}
}

// cpu is the CPU time of a command and its children.
func (b *bench) cpu(dir string, argv ...string) time.Duration {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		fatal(argv, err, string(out[max(0, len(out)-2000):]))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
