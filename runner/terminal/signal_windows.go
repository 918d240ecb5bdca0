package terminal

import "os"

var resumes []os.Signal // there is no stopping
