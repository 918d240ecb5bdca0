package gitstate

import (
	"os"
	"strings"
)

// machineID is another one after each start (random(4)).
func machineID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
