package gitstate

import (
	"cmp"
	"fmt"
	"os"
	"sync"
)

// identify names a file or folder as no copy of it is named: by the machine, since it
// was started, and by the entry in the file system.
func identify(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	entry, err := fileID(path, info)
	if err != nil {
		return "", fmt.Errorf("identifying %s: %w", path, err)
	}
	return thisMachine() + " " + entry, nil
}

var thisMachine = sync.OnceValue(func() string {
	if id := machineID(); id != "" {
		return id
	}
	name, _ := os.Hostname()
	return cmp.Or(name, "unknown")
})
