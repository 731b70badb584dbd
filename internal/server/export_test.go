package server

import "context"

// SealUsed and SealNext do what the background does every few seconds and every minute.
func (s *Server) SealUsed(ctx context.Context) { s.sealer.sealUsed(ctx) }

// SealNext is described at SealUsed.
func (s *Server) SealNext(ctx context.Context) { s.sealer.sealNext(ctx) }
