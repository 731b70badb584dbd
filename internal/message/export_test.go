package message

import "time"

// ImplicitTLS has s speak TLS from the start on another port.
func (s *Sender) ImplicitTLS(port int) { s.implicitTLS = port }

// Patience has s wait for so long.
func (s *Sender) Patience(d time.Duration) { s.timeout = d }
