package forge

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sticky is the one comment of ours on a pull request that begins with a marker; nil where there is none. A marker in
// somebody else's comment is not ours, and one further down is a quotation.
func Sticky(ctx context.Context, f Forge, number int, marker string) (*Comment, error) {
	mine, err := sticky(ctx, f, number, marker)
	if err != nil || len(mine) == 0 {
		return nil, err
	}
	return &mine[0], nil
}

// sticky are those of ours, of which there are several where two jobs came at once. The first is the
// one to keep.
func sticky(ctx context.Context, f Forge, number int, marker string) (mine []Comment, err error) {
	me, err := f.Me(ctx)
	if err != nil {
		return nil, err
	}
	all, err := f.Comments(ctx, number)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if strings.EqualFold(c.Author, me) && me != "" && strings.HasPrefix(c.Body, marker) {
			mine = append(mine, c)
		}
	}
	slices.SortFunc(mine, func(a, b Comment) int { return int(min(max(a.ID-b.ID, -1), 1)) })
	return mine, nil
}

// SetSticky makes that comment, or gives it another body, which begins with the marker. Of jobs that come at once, each
// finds all that were made after it has made its own, and the oldest stays: whoever made another one deletes it, and has
// its say in the one that stays.
func SetSticky(ctx context.Context, f Forge, number int, marker, body string) (*Comment, error) {
	for try := 1; ; try++ {
		c, err := setSticky(ctx, f, number, marker, body)
		// What was refused for want of an answer may have been made all the same: it is looked for first.
		e, is := errors.AsType[*Error](err)
		if !is || try >= mostTries || ctx.Err() != nil {
			return c, err
		}
		gone, fault := errors.Is(err, ErrNotFound), e.Method == http.MethodPost && (e.Status == 0 || e.Status >= 500)
		if !gone && !fault || !sleep(ctx, time.Duration(try)*time.Second/2) {
			return c, err
		}
	}
}

func setSticky(ctx context.Context, f Forge, number int, marker, body string) (*Comment, error) {
	mine, err := sticky(ctx, f, number, marker)
	if err != nil {
		return nil, err
	}
	var made *Comment
	if len(mine) == 0 {
		if made, err = f.CreateComment(ctx, number, body); err != nil {
			return nil, err
		}
		if mine, err = sticky(ctx, f, number, marker); err != nil {
			return nil, err
		}
		if len(mine) == 0 {
			return made, nil
		}
	}
	kept := mine[0]
	if kept.Body != body {
		if err := f.EditComment(ctx, number, kept.ID, body); err != nil {
			return nil, err
		}
		kept.Body = body
	}
	for _, c := range mine[1:] {
		if err := f.DeleteComment(ctx, number, c.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return &kept, nil
}
