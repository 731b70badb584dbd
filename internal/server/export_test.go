package server

import "github.com/labstack/echo/v4"

// Routes are the routes of the public listener as the router has them.
func (s *Server) Routes() []*echo.Route { return s.echo.Routes() }
