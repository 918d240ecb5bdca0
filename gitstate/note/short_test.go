package note

import (
	"testing"
)

func TestShortRuns(t *testing.T) {
	t.Parallel()
	const a, b, c = "01M8M5SKZAD5JXCXDAFF7MVQT2", "01M8M5SKZAD5KXCXDAFF7MVQT2", "01M8M5SKZBD5JXCXDAFF7MVQT2"
	short := ShortRuns([]string{c, a, b, a, "ci-1", "ci-12"})
	for run, want := range map[string]string{
		a: "01M8M5SKZAD5J", b: "01M8M5SKZAD5K", c: "01M8M5SKZB",
		"ci-1": "ci-1", "ci-12": "ci-12", "": "",
		"01M8M5SKZAD5JXCXDAFF7MVQT3": "01M8M5SKZAD5JXCXDAFF7MVQT3", // it is not among them
	} {
		if got := short(run); got != want {
			t.Errorf("%s: %s, not %s", run, got, want)
		}
	}
	for run, want := range map[string]string{a: "01M8M5SKZA", "ci-2026-11-20-1234-and-more": "ci-2026-11-20-1234-and-more", "9" + a[1:]: "9" + a[1:]} {
		if got := ShortRun(run); got != want {
			t.Errorf("%s: %s, not %s", run, got, want)
		}
	}
	for _, tt := range []struct {
		run, typed string
		want       bool
	}{
		{a, "01M8", true}, {a, "01m8m5skza", true}, {a, a, true}, {a, "01M9", false}, {"ci-1", "ci", true}, {"ci-1", "CI", false}, {a, a + "0", false},
	} {
		if got := BeginsRun(tt.run, tt.typed); got != tt.want {
			t.Errorf("%s begins %s: %v", tt.typed, tt.run, got)
		}
	}
	for typed, want := range map[string]bool{a[:10]: true, a[:12]: true, a: false, a[:9]: false, "7012345678": false, "ci-1234567": false} {
		if IsShortRun(typed) != want {
			t.Errorf("IsShortRun(%s) = %v", typed, !want)
		}
	}
}
