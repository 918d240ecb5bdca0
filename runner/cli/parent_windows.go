package cli

import (
	"fmt"
	"os"
)

// parentID names the process that started us.
func parentID() string { return fmt.Sprint(os.Getppid()) }
