package cloudapi

import "time"

// Patience sets how long a stack waits for its deployment to be announced.
func (s *Server) Patience(d time.Duration) { s.patience = d }

// Keep sets how many runs that have ended stay in memory.
func (s *Server) Keep(runs int) { s.most = runs }

// Kept is how many runs are in memory.
func (s *Server) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}
