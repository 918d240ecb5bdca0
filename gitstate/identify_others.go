//go:build !(darwin || linux || windows)

package gitstate

// machineID is not known: the name of the machine has to do.
func machineID() string { return "" }
