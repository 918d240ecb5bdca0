package command

// target joins the two things that state is kept apart for. "+" stands in no
// name of a target, so that the two cannot be taken for each other.
func TargetOf(target, workspace string) string {
	if workspace == "" {
		return target
	}
	return target + "+" + workspace
}

func ValidRun(id string) bool {
	if len(id) != 26 {
		return false
	}
	for _, c := range id {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return true
}
