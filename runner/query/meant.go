package query

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/tmnotes/tmnotes/runner"
)

// What may be meant by a word that nothing here is called by.

// nearest is the word that somebody who typed another may have meant, "" if none is near.
func nearest(typed string, words []string) string {
	typed = strings.ToLower(typed)
	distance := func(word string) int {
		word = strings.ToLower(word)
		if len(typed) > 2 && (strings.HasPrefix(word, typed) || letters(word) == letters(typed)) {
			return 1
		}
		return levenshtein.Distance(word, typed, nil)
	}
	best, least := "", max(1, len(typed)/3)
	for _, word := range words {
		if d := distance(word); d <= least && (best == "" || d < distance(best)) {
			best = word
		}
	}
	return best
}

// letters are those of a word, in order: typed in the wrong one they are the same.
func letters(word string) string {
	runes := []rune(word)
	slices.Sort(runes)
	return string(runes)
}

// DidYouMean asks so in the middle of a message, "" if no word is near. as has the word in
// the form in which it is typed.
func DidYouMean(typed string, words []string, as string) string {
	if word := nearest(typed, words); word != "" {
		return fmt.Sprintf(" (did you mean "+as+"?)", word)
	}
	return ""
}

// MeantStack is DidYouMean for a stack.
func MeantStack(typed string, stacks []runner.Stack) string {
	var words []string
	for _, s := range stacks {
		words = append(words, s.Path)
		if s.ID != "" {
			words = append(words, s.ID)
		}
	}
	return DidYouMean(typed, words, "%s")
}

// MeantRecorded is DidYouMean for a stack among those that are recorded, by their paths.
func MeantRecorded(typed string, paths map[string]bool) string {
	delete(paths, "")
	return DidYouMean(typed, slices.Sorted(maps.Keys(paths)), "%s")
}
