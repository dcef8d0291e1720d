package wire

import (
	"encoding/binary"
	"fmt"
)

// le is the byte order of the format.
var le = binary.LittleEndian

// A cursor takes values off the front of b. After the first value that is not
// there, or not well formed, err is set and all that follow are zero.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	c.b = nil
}

func (c *cursor) u8() uint8 {
	if len(c.b) < 1 {
		c.fail("ends early")
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) u32() uint32 {
	if len(c.b) < 4 {
		c.fail("ends early")
		return 0
	}
	v := le.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) u64() uint64 {
	if len(c.b) < 8 {
		c.fail("ends early")
		return 0
	}
	v := le.Uint64(c.b)
	c.b = c.b[8:]
	return v
}

// bool is one byte, 0 or 1: a value has one encoding.
func (c *cursor) bool() bool {
	v := c.u8()
	if v > 1 {
		c.fail("truth value %d", v)
	}
	return v == 1
}

// take gives the next n bytes, which are part of the frame.
func (c *cursor) take(n int) []byte {
	if n < 0 || len(c.b) < n {
		c.fail("ends early: %d bytes are announced, %d are there", n, len(c.b))
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// end reports what went wrong, or that bytes are left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("%d bytes too many", len(c.b))
	}
	return c.err
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
