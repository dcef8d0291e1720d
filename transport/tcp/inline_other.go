//go:build !unix

package tcp

// enableInline does nothing: here the writer's goroutine always writes.
func (c *outgoing) enableInline() {}
