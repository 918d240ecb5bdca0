package note

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-logfmt/logfmt"
	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// full is a record with every field set.
var full = Record{At: gittest.T0, Status: Failed, Op: Deploy, Target: "prod", Stack: "/prod/db", ID: "77b0", Exit: gittest.Ptr(1), Took: 3 * time.Second,
	Tries: 2, Cause: "/prod/vpc", Reason: "Error: creating DB", Inputs: "9c41", Variant: "5d02", Dirty: true, Since: gittest.T0.Add(-time.Hour), Seen: 3,
	Was: gittest.T0, Had: OK, Digest: "ab", Prev: []string{"01K9ZZ", "01K9ZY"}, Run: "01KA2Z", Stacks: 4, OK: 1, Failed: 2, Blocked: 3, Canceled: 4, Drifts: 5,
	CommitTime: 1795446000, By: "Alice <alice@example.com>", Job: "https://ci/1?a=b", Attempt: 1, Cmd: `terraform apply -var "a=b"`, Version: 1,
	Extra: []Pair{{"aaa", "x"}, {"zzz", ""}}}

func TestRecordLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record Record
		want   string
	}{
		"result": {Record{At: gittest.T0, Status: OK, Op: Deploy, Stack: "/prod/vpc", ID: "8a1f", Exit: gittest.Ptr(0), Took: 12400 * time.Millisecond, Inputs: "9c41",
			Variant: "5d02", Prev: []string{"01K9ZZ"}, Run: "01KA2Z"},
			"at=2026-11-23T15:10:13.520Z status=ok op=deploy stack=/prod/vpc id=8a1f exit=0 took=12.4s inputs=9c41 variant=5d02 prev=01K9ZZ run=01KA2Z"},
		"head": {Record{At: gittest.T0, Event: Started, Op: Deploy, Run: "01KA2Z", Stacks: 4, CommitTime: 1795446000, By: "Alice <a@b>", Cmd: "terraform apply", Version: 1},
			`at=2026-11-23T15:10:13.520Z event=started op=deploy run=01KA2Z stacks=4 ct=1795446000 by="Alice <a@b>" cmd="terraform apply" v=1`},
		"full": {full, `at=2026-11-23T15:10:13.520Z status=failed op=deploy target=prod stack=/prod/db id=77b0 exit=1 took=3.0s tries=2 cause=/prod/vpc ` +
			`reason="Error: creating DB" inputs=9c41 variant=5d02 dirty=true since=2026-11-23T14:10:13.520Z seen=3 was=2026-11-23T15:10:13.520Z had=ok ` +
			`digest=ab prev=01K9ZZ,01K9ZY run=01KA2Z stacks=4 ok=1 failed=2 blocked=3 canceled=4 drifted=5 ct=1795446000 by="Alice <alice@example.com>" ` +
			`job="https://ci/1?a=b" attempt=1 cmd="terraform apply -var \"a=b\"" v=1 aaa=x zzz=`},
		"too short to show":   {Record{At: gittest.T0, Status: OK, Op: "plan", Stack: "/", Took: 1, Run: "r"}, "at=2026-11-23T15:10:13.520Z status=ok op=plan stack=/ took=0.0s run=r"},
		"other zone, finer":   {Record{At: gittest.T0.Add(999).In(time.FixedZone("x", 3600)), Status: OK, Op: "p", Stack: "/", Run: "r"}, "at=2026-11-23T15:10:13.520Z status=ok op=p stack=/ run=r"},
		"rounded":             {Record{At: gittest.T0, Status: OK, Op: "p", Stack: "/", Took: 59950 * time.Millisecond, Run: "r"}, "at=2026-11-23T15:10:13.520Z status=ok op=p stack=/ took=60.0s run=r"},
		"negative exit":       {Record{At: gittest.T0, Status: OK, Op: "p", Stack: "/", Exit: gittest.Ptr(-1), Run: "r"}, "at=2026-11-23T15:10:13.520Z status=ok op=p stack=/ exit=-1 run=r"},
		"newline, tab, C0":    {reason("a\nb\tc\r\x1b[31m\x00\x7f"), `reason="a\nb\tc\r\u001b[31m\u0000\u007f"`},
		"C1":                  {reason("a\u009b31mb\u0085"), `reason="a\u009b31mb\u0085"`},
		"bidi, zero width":    {reason("a\u202eb\u2066c\u200bd\ufeff"), `reason="a\u202eb\u2066c\u200bd\ufeff"`},
		"no-break space":      {reason("a\u00a0b\u3000"), `reason="a\u00a0b\u3000"`},
		"beyond the BMP":      {reason("ok \U0001F680 \U000E0041"), "reason=\"ok \U0001F680 \\udb40\\udc41\""},
		"not ASCII, unquoted": {reason("grün⚠️日本"), "reason=grün⚠️日本"},
		"invalid UTF-8":       {reason("a\xffb\xc0\xaf"), `reason="a\ufffdb\ufffd\ufffd"`},
		"quote and backslash": {reason(`say "a\b"`), `reason="say \"a\\b\""`},
		"odd stack":           {Record{At: gittest.T0, Status: OK, Op: "p", Stack: "/a b\n=c", Run: "r"}, `at=2026-11-23T15:10:13.520Z status=ok op=p stack="/a b\n=c" run=r`},
	} {
		got, err := c.record.Line()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want != got && !(strings.HasPrefix(c.want, "reason=") && strings.Contains(got, " "+c.want+" ")) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		checkLine(t, got)
	}
}

func reason(s string) Record {
	return Record{At: gittest.T0, Status: Failed, Op: "p", Stack: "/", Reason: s, Run: "r"}
}

// checkLine: what a line says is encoded as the same line, is read by go-logfmt
// in the same way, is one line of valid UTF-8 and drives no terminal.
func checkLine(t *testing.T, line string) {
	t.Helper()
	r, err := ParseRecord(line)
	if err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	again, err := r.Line()
	if err != nil || again != line {
		t.Fatalf("encoded again (%v):\n got %q\nwant %q", err, again, line)
	}
	if !utf8.ValidString(line) {
		t.Errorf("not UTF-8: %q", line)
	}
	for _, c := range line {
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == 0x2028 || c == 0x2029 {
			t.Errorf("%U is not escaped in %q", c, line)
		}
	}
	var want [][2]string
	for _, f := range fields {
		if v := f.get(&r); v != "" {
			want = append(want, [2]string{f.key, strings.ToValidUTF8(v, "\ufffd")})
		}
	}
	for _, p := range r.Extra {
		want = append(want, [2]string{p.Key, p.Value})
	}
	// go-logfmt's scanner has a limit of 64 KiB for a line.
	if len(line) < 60_000 {
		var got [][2]string
		d := logfmt.NewDecoder(strings.NewReader(line + "\n"))
		for d.ScanRecord() {
			for d.ScanKeyval() {
				got = append(got, [2]string{string(d.Key()), string(d.Value())})
			}
		}
		if d.Err() != nil {
			t.Fatalf("go-logfmt: %v: %q", d.Err(), line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("go-logfmt reads another record (-ours +theirs):\n%s%q", diff, line)
		}
	}
	j, err := json.Marshal(r)
	if err != nil || !json.Valid(j) {
		t.Errorf("JSON %s: %v", j, err)
	}
}

func TestRecordFieldsComeBack(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Event" {
			t.Errorf("%s is not set in the test's record", v.Type().Field(i).Name)
		}
	}
	line, err := full.Line()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecord(line)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordJSON(t *testing.T) {
	t.Parallel()
	j, err := json.Marshal(Record{At: gittest.T0, Status: OK, Op: Deploy, Stack: "/a", Exit: gittest.Ptr(0), Took: 12400 * time.Millisecond, Dirty: true, Prev: []string{"a", "b"}, Run: "r"})
	want := `{"at":"2026-11-23T15:10:13.520Z","status":"ok","op":"deploy","stack":"/a","exit":0,"took":12.4,"dirty":true,"prev":["a","b"],"run":"r"}`
	if err != nil || string(j) != want {
		t.Errorf("%v\n got %s\nwant %s", err, j, want)
	}
}

func TestRecordRefused(t *testing.T) {
	t.Parallel()
	ok := Record{At: gittest.T0, Status: OK, Op: "p", Stack: "/", Run: "r"}
	for name, edit := range map[string]func(*Record){
		"no time":                 func(r *Record) { r.At = time.Time{} },
		"year 10000":              func(r *Record) { r.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"before clocks":           func(r *Record) { r.Since = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC) },
		"neither status or event": func(r *Record) { r.Status = "" },
		"status and event":        func(r *Record) { r.Event = Started },
		"no run":                  func(r *Record) { r.Run = "" },
		"run with a path":         func(r *Record) { r.Run = "../x" },
		"no stack":                func(r *Record) { r.Stack = "" },
		"relative stack":          func(r *Record) { r.Stack = "a" },
		"stack not UTF-8":         func(r *Record) { r.Stack = "/\xff" },
		"no operation":            func(r *Record) { r.Op = "" },
		"negative tries":          func(r *Record) { r.Tries = -1 },
		"negative duration":       func(r *Record) { r.Took = -1 },
		"comma in prev":           func(r *Record) { r.Prev = []string{"a,b"} },
		"empty prev":              func(r *Record) { r.Prev = []string{""} },
		"known key as extra":      func(r *Record) { r.Extra = []Pair{{"op", "x"}} },
		"extra not sorted":        func(r *Record) { r.Extra = []Pair{{"y", "x"}, {"x", "x"}} },
		"extra twice":             func(r *Record) { r.Extra = []Pair{{"y", "x"}, {"y", "x"}} },
		"extra with a space":      func(r *Record) { r.Extra = []Pair{{"a b", "x"}} },
		"tombstone of nothing":    func(r *Record) { r.Status, r.Event = "", Forgotten },
	} {
		r := ok
		edit(&r)
		if line, err := r.Line(); err == nil {
			t.Errorf("%s: %q", name, line)
		}
	}
	if _, err := ok.Line(); err != nil {
		t.Fatal(err)
	}
}

func TestParseRecordRefuses(t *testing.T) {
	t.Parallel()
	const good = "at=2026-11-23T15:10:13.520Z status=ok op=p stack=/ run=r"
	for _, line := range []string{
		"", " ", "x", "=", "at=", good + " ", " " + good, good + "\n", good + "\r", good + "  x=y", good + " x",
		strings.Replace(good, " status", "  status", 1), strings.Replace(good, " status", "\tstatus", 1),
		strings.Replace(good, ".520Z", ".52Z", 1), strings.Replace(good, ".520Z", "Z", 1), strings.Replace(good, "Z", "+00:00", 1),
		strings.Replace(good, "11-23", "02-30", 1), strings.Replace(good, "11-23", "13-01", 1), strings.Replace(good, "T15:10:13", "T15:10:60", 1),
		strings.Replace(good, "2026", "-026", 1), strings.Replace(good, "2026", "0001", 1), strings.Replace(good, "T15", "t15", 1),
		strings.Replace(good, "T15", "T-5", 1), strings.Replace(good, "=ok", `="ok"`, 1), strings.Replace(good, "stack=/", `stack=/\n`, 1),
		strings.Replace(good, "stack=/", `stack="/\u0061 "`, 1), strings.Replace(good, "stack=/", `stack="/ \u001B"`, 1),
		strings.Replace(good, "stack=/", `stack="/ \ud800"`, 1), strings.Replace(good, "stack=/", `stack="/ \ud800\u0041"`, 1),
		strings.Replace(good, "stack=/", `stack="/ "x`, 1), strings.Replace(good, "stack=/", `stack="/ `, 1), strings.Replace(good, "stack=/", `stack="/ \q"`, 1),
		strings.Replace(good, "stack=/", "stack=\"/ \x1b\"", 1), strings.Replace(good, "stack=/", "stack=/\x1b", 1), strings.Replace(good, "stack=/", "stack=/\u202e", 1),
		strings.Replace(good, "stack=/", "stack=/\xff", 1), strings.Replace(good, "run=r", "run=r run=r", 1), "status=ok at=2026-11-23T15:10:13.520Z op=p stack=/ run=r",
		strings.Replace(good, "run=r", "aaa=x run=r", 1), good + " zz=1 aa=1", good + " Zz=1", good + " ü=1", good + " =1", good + ` zz=""`,
		strings.Replace(good, "run=", "exit=+1 run=", 1), strings.Replace(good, "run=", "exit=01 run=", 1), strings.Replace(good, "run=", "exit=-0 run=", 1),
		strings.Replace(good, "run=", "exit=99999999999 run=", 1), strings.Replace(good, "run=", "took=1s run=", 1), strings.Replace(good, "run=", "took=01.0s run=", 1),
		strings.Replace(good, "run=", "took=1.00s run=", 1), strings.Replace(good, "run=", "took=-1.0s run=", 1), strings.Replace(good, "run=", "took=1e3s run=", 1),
		strings.Replace(good, "run=", "took=9999999999.0s run=", 1), strings.Replace(good, "run=", "tries=0 run=", 1), strings.Replace(good, "run=", "tries=-1 run=", 1),
		strings.Replace(good, "run=", "dirty=false run=", 1), strings.Replace(good, "run=", "id= run=", 1), strings.Replace(good, "run=", "prev=a,,b run=", 1),
		strings.Replace(good, "run=r", "run=", 1), strings.Replace(good, "run=r", "run=r event=x", 1), strings.Replace(good, "status=ok ", "", 1),
	} {
		if r, err := ParseRecord(line); err == nil {
			t.Errorf("%q is read as %+v", line, r)
		}
	}
	checkLine(t, good)
	checkLine(t, good+" zz=")
}

func TestRecordLong(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{"x", "\x1b", "日本 "} {
		r := reason(strings.Repeat(piece, 5<<20/len(piece)))
		line, err := r.Line()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRecord(line)
		if err != nil || got.Reason != r.Reason {
			t.Fatalf("5 MB of %q: %v", piece, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	line, _ := full.Line()
	for _, s := range []string{line, "at=2026-11-23T15:10:13.520Z event=finished run=r ok=2", `at=2026-11-23T15:10:13.520Z status=ok op=p stack="/ \ud83d\ude80\u202e" run=r`,
		"at=2026-11-23T15:10:13.520Z status=ok op=p stack=/ took=0.0s prev=a,b run=r zz= zza=1"} {
		f.Add(s, "reason", int64(1))
	}
	f.Add("", "a\xff\u202e\U000E0041\x00\"\\", int64(1e9))
	f.Fuzz(func(t *testing.T, line, text string, n int64) {
		if _, err := ParseRecord(line); err == nil {
			checkLine(t, line)
		}
		r := Record{At: time.UnixMilli(n), Status: OK, Op: "p", Stack: "/" + text, Took: time.Duration(n), Reason: text, By: text, Run: "r", Extra: []Pair{{"zz", text}}}
		if line, err := r.Line(); err == nil {
			checkLine(t, line)
		}
	})
}

func BenchmarkParseRecord(b *testing.B) {
	line := "at=2026-11-23T15:10:13.520Z status=ok op=deploy stack=/prod/vpc id=8a1f0b1c-2d3e-4f50-8a1f-0b1c2d3e4f50 exit=0 took=12.4s inputs=9c41 variant=5d02 prev=01K9ZZ run=01KA2Z"
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord(line); err != nil {
			b.Fatal(err)
		}
	}
}
