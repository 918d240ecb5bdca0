package note

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// corpus reads the lines of a file below testdata/redact, at least so many.
func corpus(t testing.TB, name string, atLeast int) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "redact", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, made(strings.ReplaceAll(line, "⏎", "\n")))
		}
	}
	if len(lines) < atLeast {
		t.Fatalf("%s has %d lines, and is to have %d", name, len(lines), atLeast)
	}
	return lines
}

var pieceOf = regexp.MustCompile(`\{([AahU])([0-9]+)\}`)

// made puts together what a scanner would find in the file.
func made(line string) string {
	from := map[string]string{"A": "b7Kq2XzP9mWc4RtY6nLd8VhJ3sGf5TgU1aEw0QoI", "a": "qwzrtplkjhgfdsyxcvbnm",
		"h": "9f3c0e7a1d5b8246", "U": "K7QX2ZP9MWC4RTY6NLD8VHJ3SGF5"}
	line = pieceOf.ReplaceAllStringFunc(line, func(s string) string {
		m := pieceOf.FindStringSubmatch(s)
		length, _ := strconv.Atoi(m[2])
		return strings.Repeat(from[m[1]], length/len(from[m[1]])+1)[:length]
	})
	return strings.ReplaceAll(line, "·", "")
}

var marked = regexp.MustCompile(`«([^»]*)»`)

func TestRedactorCorpus(t *testing.T) {
	t.Parallel()
	var r Redactor
	for _, line := range corpus(t, "secrets.txt", 60) {
		text := marked.ReplaceAllString(line, "$1")
		want := marked.ReplaceAllString(line, redacted)
		got := r.Hide(text)
		if got != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
		if again := r.Hide(got); again != got {
			t.Errorf("twice: %q\n once: %q", again, got)
		}
	}
	for _, text := range corpus(t, "plain.txt", 60) {
		if got := r.Hide(text); got != text {
			t.Errorf("mangled:\n got %q\nwant %q", got, text)
		}
	}
}

// Wherever a secret of the corpus stands in a longer text, and whatever stands
// around it, no piece of it is left.
func TestRedactorCorpusInContext(t *testing.T) {
	t.Parallel()
	secrets, plain := corpus(t, "secrets.txt", 60), corpus(t, "plain.txt", 60)
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var hidden []string
		for range rapid.IntRange(1, 8).Draw(t, "lines") {
			line := rapid.SampledFrom(plain).Draw(t, "plain")
			if rapid.Bool().Draw(t, "secret") {
				line = rapid.SampledFrom(secrets).Draw(t, "line")
				for _, m := range marked.FindAllStringSubmatch(line, -1) {
					hidden = append(hidden, m[1])
				}
			}
			text.WriteString(marked.ReplaceAllString(line, "$1") + "\n")
		}
		got := new(Redactor).Hide(text.String())
		for _, secret := range hidden {
			if len(secret) >= 12 && strings.Contains(got, secret) {
				t.Fatalf("%q stands in %q", secret, got)
			}
		}
	})
}

// Every row of the table has a line, but for those that are listed here.
func TestRedactorShapesAreTested(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for _, line := range corpus(t, "secrets.txt", 60) {
		text := marked.ReplaceAllString(line, "$1")
		known().find(text, func(kind, from, to int) {
			var found finds
			tryShape(kind, place{text, from, to, &found})
			seen[kind] = seen[kind] || len(found.spans) > 0
		})
	}
	for i, s := range shapes {
		if !seen[i] {
			t.Errorf("no line of testdata/redact/secrets.txt has %s", s.name)
		}
		if s.source == "" || len(s.anchors) == 0 || s.token == "" == (s.find == nil) {
			t.Errorf("the row %s is not complete", s.name)
		}
		for _, a := range s.anchors {
			if len(a) < markLength || a != strings.ToLower(a) {
				t.Errorf("%s: the anchor %q", s.name, a)
			}
		}
	}
}

// planText is what a long plan looks like: most of it has nothing to do with
// secrets, some of it is named like them, and has none.
func planText(size int) string {
	block := `  # module.network.aws_subnet.private["eu-central-1a"] will be updated in-place
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

// BenchmarkRedactor is measured against a run by scripts/bench.
func BenchmarkRedactor(b *testing.B) {
	for name, env := range map[string][]string{"shapes": nil, "values": manySecrets()} {
		b.Run(name, func(b *testing.B) {
			text, r := planText(256<<10), NewRedactor(env)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r.Hide(text)
			}
		})
	}
}

func manySecrets() (env []string) {
	for i := range 60 {
		env = append(env, "TF_VAR_x"+strconv.Itoa(i)+"="+made("{A"+strconv.Itoa(8+i)+"}")+strconv.Itoa(i))
	}
	return env
}

// Whatever a program prints, hiding ends well, and hiding twice hides no less.
func TestRedactorOfAnything(t *testing.T) {
	t.Parallel()
	parts := []string{" ", "\n", "\"", "'", "\\", ":", "=", "->", "(", "[", "]", "<", ">", "|", "-", "a", "B7", "@", "/", "$", "ü", "\xff", "***", "<<-EOT\n", "EOT", "BEGIN ", "END ",
		"-----BEGIN PRIVATE ", "-----END PRIVATE ", "0123456789abcdef0123", "aGVsbG8gd29ybGQgdGhpcyBpcw==\n"}
	for _, s := range shapes {
		parts = append(parts, s.anchors...)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 40).Draw(t, "parts"), "")
		var r Redactor
		once := r.Hide(text)
		if twice := r.Hide(once); strings.Count(twice, redacted) > len(once) || len(twice) > 2*len(once)+8 {
			t.Fatalf("%q becomes %q and then %q", text, once, twice)
		}
	})
	for _, part := range parts {
		text := strings.Repeat(part, 64<<10/len(part))
		start := time.Now()
		new(Redactor).Hide(text)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%q over and over takes %v", part, took)
		}
	}
}
