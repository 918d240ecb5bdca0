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
	"github.com/tmnotes/tmnotes/gitstate/note"
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
				if hidden := note.NewRedactor(append(os.Environ(), env...)).Hide(text); len(hidden) != len(text) {
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

// growth measures what ten times as much takes, in CPU time: ten times as long, and a bit.
func (b *bench) growth() {
	stacks := b.n(1000)
	if name := fmt.Sprintf("run -j4 of `true`, %d stacks / %d stacks", 10*stacks, stacks); b.want(name) {
		few, many := b.project("few", stacks), b.project("many", 10*stacks)
		run := func(dir string) time.Duration {
			b.git(dir, "commit", "-q", "--allow-empty", "-m", "next")
			return b.cpu(dir, *tmnotes, "run", "-X", "-j4", "--sync=off", "--op", "deploy", "--quiet", "--", "true")
		}
		b.ratio(name, func() time.Duration { return run(many) }, func() time.Duration { return run(few) })
		b.recorded(many, 10*stacks)
	}
	lines := b.n(20000)
	if name := fmt.Sprintf("status, a note of %d lines of one stack / %d lines", 10*lines, lines); b.want(name) {
		few, many := b.longNote("fewlines", lines), b.longNote("manylines", 10*lines)
		status := func(dir string) time.Duration {
			for _, f := range glob(filepath.Join(dir, ".git", "tmnotes", "index*")) {
				os.Remove(f)
			}
			return b.cpu(dir, *tmnotes, "status")
		}
		b.ratio(name, func() time.Duration { return status(many) }, func() time.Duration { return status(few) })
	}
}

// ratio measures both in turn.
func (b *bench) ratio(name string, many, few func() time.Duration) {
	var ratios []float64
	var detail string
	for range *pairs + 1 {
		m, f := many(), few()
		ratios = append(ratios, m.Seconds()/f.Seconds())
		detail = fmt.Sprintf("last: %v / %v", m.Round(time.Millisecond), f.Round(time.Millisecond))
	}
	b.row(name, median(ratios[1:]), 12, "x", detail)
}

// longNote makes a project of one stack, of which a note has so many results whose
// runs did not know of each other.
func (b *bench) longNote(name string, lines int) string {
	dir := b.project(name, 1)
	var text strings.Builder
	for i := range lines {
		r := note.Record{At: time.Unix(1700000000+int64(i), 0).UTC(), Status: note.OK, Op: "deploy", Stack: "/g0/s0", ID: uuid(0), Took: time.Second, Variant: "5d020000", Run: fmt.Sprintf("01KA%022d", i)}
		line, err := r.Line()
		if err != nil {
			fatal(err)
		}
		text.WriteString(line + "\n")
	}
	file := filepath.Join(b.dir, name+".note")
	write(file, text.String())
	b.git(dir, "notes", "--ref=tmnotes", "add", "-F", file)
	return dir
}

// kept checks that the measured run kept its output, in the clone, as it is not synced.
func (b *bench) kept(dir string) {
	if out := b.git(dir, "ls-tree", "-r", "refs/tmnotes/local/tmnotes-texts"); !strings.Contains(out, "/plan/") {
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
