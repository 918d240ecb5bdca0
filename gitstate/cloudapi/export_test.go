package cloudapi

// Keep sets how many runs that have ended stay in memory.
func (s *Server) Keep(runs int) { s.most = runs }

// Kept is how many runs are in memory.
func (s *Server) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}
