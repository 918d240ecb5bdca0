package gitstate

import (
	"context"
	"slices"
)

// claimNames are the names that a stack is to be claimed by, its own first. The notes
// know those by which others may have claimed it who know it by another id, or by none.
// They know them of the others' announcements: so one that is not announced itself is
// always claimed by its path as well.
func claimNames(c *Claim, st *State) []string {
	names := idents(c.ID, c.Stack)
	if c.Announced {
		names = names[:1]
	}
	for _, name := range st.namesAt(c.Stack) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// refs are those of stacks by all the names that are known now.
func (c *Claimer) refs(ctx context.Context, stacks []Claim) ([][]string, error) {
	if err := c.learn(ctx, false); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	refs := make([][]string, len(stacks))
	for i := range stacks {
		for _, name := range claimNames(&stacks[i], c.known) {
			refs[i] = append(refs[i], c.s.claimRefBy(name, stacks[i].Target))
		}
	}
	return refs, nil
}

// learn reads the notes that are here, again or if they were not yet.
func (c *Claimer) learn(ctx context.Context, again bool) error {
	c.mu.Lock()
	has := c.known != nil
	c.mu.Unlock()
	if has && !again {
		return nil
	}
	known, err := c.s.State(ctx)
	if err == nil {
		c.mu.Lock()
		c.known = known
		c.mu.Unlock()
	}
	return err
}

// Known is the state by the notes that were fetched last: for a stack that was taken it has
// all that others did before.
func (c *Claimer) Known() *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// halves are those of the stacks that are held, and not by all of their names: somebody
// announced one by another name who may not have read who announced it here.
func (c *Claimer) halves(stacks []Claim) (halves []Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range stacks {
		h := c.held[c.s.claimRef(&stacks[i])]
		if h == nil {
			continue
		}
		by := func(name string) bool {
			return slices.ContainsFunc(h.claim.at, func(at refValue) bool { return at.name == name })
		}
		for _, name := range claimNames(&stacks[i], c.known) {
			if !by(name) {
				halves = append(halves, stacks[i])
				break
			}
		}
	}
	return halves
}
