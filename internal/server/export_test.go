package server

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// Routes are the routes of the public listener as the router has them.
func (s *Server) Routes() []*echo.Route { return s.echo.Routes() }

// Metrics is the handler of the other listener.
func (s *Server) Metrics() http.Handler { return s.metricsHandler() }
