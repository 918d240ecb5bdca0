package gitstate

import "golang.org/x/sys/unix"

// machineID is another one after each start.
func machineID() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}
