package note

import (
	"strconv"
)

// A run may be done by several jobs, of which each has a part of its stacks: a
// leg. What has to be told apart then is who is at what. The head and the end
// of a leg are lines of their own, and say which leg; so does every queued and
// running line. What has ended need not say who ended it.
//
// Both keys are younger than version 1, as triggers is.
const (
	legKey  = "leg"
	legsKey = "legs"
)

// Leg is the number of the leg, from 1, that the record is about; 0 for none.
func (r *Record) Leg() int { return r.extraCount(legKey) }

// SetLeg says which leg of its run the record is about.
func (r *Record) SetLeg(leg int) { r.setExtra(legKey, countText(leg)) }

// Legs is, in the head of a run, into how many legs it was divided; 0 for a run
// that is not.
func (r *Record) Legs() int { return r.extraCount(legsKey) }

// SetLegs says into how many legs the run is divided.
func (r *Record) SetLegs(legs int) { r.setExtra(legsKey, countText(legs)) }

func countText(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (r *Record) extraCount(key string) int {
	n, ok := parseInt(r.extra(key))
	if !ok || n < 1 || n > maxCount {
		return 0
	}
	return int(n)
}

// LegName is what gitstate's Writer.Live takes in the place of a stack for the process
// that works on a leg.
func LegName(leg int) string { return legKey + "=" + strconv.Itoa(leg) }
