package early

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"
)

// now is GOGC.
func now() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(int64(sample[0].Value.Uint64()))
}

func TestMain(m *testing.M) {
	if os.Getenv("EARLY_SAYS") == "" {
		os.Exit(m.Run())
	}
	said := []int{now()}
	if set, err := strconv.Atoi(os.Getenv("EARLY_SETS")); err == nil {
		debug.SetGCPercent(set)
	}
	// The cleanup runs some time after the collection.
	runtime.GC()
	for end := time.Now().Add(10 * time.Second); percent < atFirst && now() == atFirst && time.Now().Before(end); {
		runtime.Gosched()
	}
	fmt.Println(append(said, now()))
}

// Until the first collection GOGC is another one, then it is what it would have been, unless somebody has
// set it.
func TestGOGC(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ env, sets, want string }{
		{"", "", "[800 100]"},
		{"50", "", "[800 50]"},
		{"800", "", "[800 800]"},
		{"1000", "", "[1000 1000]"},
		{"off", "", "[-1 -1]"},
		{"", "400", "[800 400]"},
	} {
		t.Run(tc.env+" "+tc.sets, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "EARLY_SAYS=1", "GOGC="+tc.env, "EARLY_SETS="+tc.sets)
			out, err := cmd.Output()
			if said := strings.TrimSpace(string(out)); err != nil || said != tc.want {
				t.Errorf("GOGC was %s, %v, not %s", said, err, tc.want)
			}
		})
	}
}
