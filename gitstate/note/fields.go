package note

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Pair is a key with its value, as it stands in a line.
type Pair struct{ Key, Value string }

// TimeLayout is how a line has a time: UTC, with milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// field ties a key to its place in Record. The order of this table is the
// order in a line; keys that are not in it come after all of these, sorted.
type field struct {
	key string
	get func(*Record) string
	set func(*Record, string) bool
	num bool // a number in JSON
}

func text(key string, at func(*Record) *string) field {
	return field{key: key,
		get: func(r *Record) string { return *at(r) },
		set: func(r *Record, v string) bool { *at(r) = v; return v != "" }}
}

func count(key string, at func(*Record) *int) field {
	return field{key: key, num: true,
		get: func(r *Record) string {
			if *at(r) == 0 {
				return ""
			}
			return strconv.Itoa(*at(r))
		},
		set: func(r *Record, v string) bool {
			n, ok := parseInt(v)
			*at(r) = int(n)
			return ok && n > 0 && n <= maxCount
		}}
}

// maxCount keeps a count in the range of int on every machine.
const maxCount = math.MaxInt32

// parseInt reads a whole number in its one form: no plus, no leading zeros.
func parseInt(v string) (int64, bool) {
	digits := strings.TrimPrefix(v, "-")
	if digits == "" || digits[0] == '0' && v != "0" || digits[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

func instant(key string, at func(*Record) *time.Time) field {
	return field{key: key,
		get: func(r *Record) string {
			if at(r).IsZero() {
				return ""
			}
			return at(r).UTC().Format(TimeLayout)
		},
		set: func(r *Record, v string) bool {
			t, err := parseTime(v)
			*at(r) = t
			return err == nil
		}}
}

// parseTime is time.Parse(TimeLayout, v) for the one form that is valid, and
// for the years that a clock may show.
func parseTime(v string) (time.Time, error) {
	bad := errors.New("not a time")
	if len(v) != len(TimeLayout) {
		return time.Time{}, bad
	}
	num := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			c := v[i] - '0'
			if c > 9 {
				return -1 << 20
			}
			n = 10*n + int(c)
		}
		return n
	}
	for i := range len(TimeLayout) {
		switch c := TimeLayout[i]; c {
		case '-', 'T', ':', '.', 'Z':
			if v[i] != c {
				return time.Time{}, bad
			}
		}
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, second, milli := num(11, 13), num(14, 16), num(17, 19), num(20, 23)
	if year < minYear || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || milli < 0 {
		return time.Time{}, bad
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, milli*1e6, time.UTC)
	if t.Day() != day { // the 30th of February
		return time.Time{}, bad
	}
	return t, nil
}

const minYear = 1970

func validTime(t time.Time) bool {
	y := t.UTC().Year()
	return t.IsZero() || y >= minYear && y <= 9999
}

var fields = []field{
	instant("at", func(r *Record) *time.Time { return &r.At }),
	text("event", func(r *Record) *string { return &r.Event }),
	text("status", func(r *Record) *string { return (*string)(&r.Status) }),
	text("op", func(r *Record) *string { return &r.Op }),
	text("target", func(r *Record) *string { return &r.Target }),
	text("stack", func(r *Record) *string { return &r.Stack }),
	text("id", func(r *Record) *string { return &r.ID }),
	{key: "exit", num: true,
		get: func(r *Record) string {
			if r.Exit == nil {
				return ""
			}
			return strconv.Itoa(*r.Exit)
		},
		set: func(r *Record, v string) bool {
			n, ok := parseInt(v)
			exit := int(n)
			r.Exit = &exit
			return ok && n >= -maxCount && n <= math.MaxUint32 // Windows has exit codes of 32 bits
		}},
	{key: "took", num: true,
		get: func(r *Record) string {
			if r.Took == 0 {
				return ""
			}
			n := int64(min(r.Took, maxTook)+tenth/2) / int64(tenth)
			return strconv.FormatInt(n/10, 10) + "." + string(rune('0'+n%10)) + "s"
		},
		set: func(r *Record, v string) bool {
			whole, ok := strings.CutSuffix(v, "s")
			if len(whole) < 3 || whole[len(whole)-2] != '.' || whole[0] == '-' {
				return false
			}
			frac := whole[len(whole)-1] - '0'
			n, ok2 := parseInt(whole[:len(whole)-2])
			if !ok || !ok2 || frac > 9 || n > int64(maxTook/time.Second) {
				return false
			}
			// 0.0s is a duration too short to show, not an absent one.
			r.Took = max(time.Duration(n)*time.Second+time.Duration(frac)*tenth, 1)
			return r.Took <= maxTook
		}},
	count("tries", func(r *Record) *int { return &r.Tries }),
	text("cause", func(r *Record) *string { return &r.Cause }),
	text("reason", func(r *Record) *string { return &r.Reason }),
	text("inputs", func(r *Record) *string { return &r.Inputs }),
	text("variant", func(r *Record) *string { return &r.Variant }),
	{key: "dirty",
		get: func(r *Record) string {
			if r.Dirty {
				return "true"
			}
			return ""
		},
		set: func(r *Record, v string) bool { r.Dirty = true; return v == "true" }},
	instant("since", func(r *Record) *time.Time { return &r.Since }),
	count("seen", func(r *Record) *int { return &r.Seen }),
	instant("was", func(r *Record) *time.Time { return &r.Was }),
	text("had", func(r *Record) *string { return (*string)(&r.Had) }),
	text("digest", func(r *Record) *string { return &r.Digest }),
	{key: "prev",
		get: func(r *Record) string { return strings.Join(r.Prev, ",") },
		set: func(r *Record, v string) bool {
			r.Prev = strings.Split(v, ",")
			return !slices.ContainsFunc(r.Prev, func(run string) bool { return !IsToken(run) })
		}},
	text("run", func(r *Record) *string { return &r.Run }),
	count("stacks", func(r *Record) *int { return &r.Stacks }),
	count("ok", func(r *Record) *int { return &r.OK }),
	count("failed", func(r *Record) *int { return &r.Failed }),
	count("blocked", func(r *Record) *int { return &r.Blocked }),
	count("canceled", func(r *Record) *int { return &r.Canceled }),
	count("drifted", func(r *Record) *int { return &r.Drifts }),
	{key: "ct", num: true,
		get: func(r *Record) string {
			if r.CommitTime == 0 {
				return ""
			}
			return strconv.FormatInt(r.CommitTime, 10)
		},
		set: func(r *Record, v string) (ok bool) {
			n, ok := parseInt(v)
			r.CommitTime = n
			return ok && n != 0
		}},
	text("by", func(r *Record) *string { return &r.By }),
	text("job", func(r *Record) *string { return &r.Job }),
	count("attempt", func(r *Record) *int { return &r.Attempt }),
	text("cmd", func(r *Record) *string { return &r.Cmd }),
	count("v", func(r *Record) *int { return &r.Version }),
}

var fieldRank = func() map[string]int {
	m := make(map[string]int, len(fields))
	for i, f := range fields {
		m[f.key] = i
	}
	return m
}()

// took is written in tenths of a second, and a longer one than maxTook as that.
const (
	tenth   = 100 * time.Millisecond
	maxTook = 1e9 * time.Second
)
