package watch

// Waiting counts the responses that Next has still to give.
func (s *Stream) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready)
}
