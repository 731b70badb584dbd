package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"

	"parako/internal/config"
	"parako/internal/server"
	"parako/internal/telemetry"
)

// serve runs the server of the environment until a signal.
func serve(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako serve", flag.ContinueOnError)
	if err := p.parse(flags, args); err != nil {
		return err
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return fmt.Errorf("the environment is not complete:\n%w", err)
	}
	if err := c.ForServe(); err != nil {
		return fmt.Errorf("the environment is not complete:\n%w", err)
	}
	log := telemetry.NewLogger(p.stderr, c.LogLevel, c.LogPretty)
	s, err := server.New(ctx, server.Options{Config: c, Log: log})
	if err != nil {
		return err
	}
	defer s.Close()
	public, metrics, err := listeners(ctx, c)
	if err != nil {
		return err
	}
	return p.runServer(ctx, s, log, public, metrics, func() {
		log.InfoContext(ctx, "ready", "addr", public.Addr().String(), "url", c.URL)
	})
}

// runServer runs s until a signal; a second one ends the process at once.
func (p *process) runServer(ctx context.Context, s *server.Server, log *slog.Logger, public, metrics net.Listener, ready func()) error {
	defer context.AfterFunc(ctx, func() {
		p.released()
		log.InfoContext(context.WithoutCancel(ctx), "stopping")
	})()
	return s.Run(ctx, public, metrics, ready)
}

// listeners opens the public port and, unless it is turned off, that of the metrics.
func listeners(ctx context.Context, c config.Config) (public, metrics net.Listener, err error) {
	var lc net.ListenConfig
	if public, err = lc.Listen(ctx, "tcp", c.ListenAddr()); err != nil {
		return nil, nil, fmt.Errorf("%w; choose another DEPLOYMENT_SERVER_PORT", err)
	}
	if c.MetricsAddr == "" || c.MetricsAddr == "off" {
		return public, nil, nil
	}
	if metrics, err = lc.Listen(ctx, "tcp", c.MetricsAddr); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w; choose another METRICS_ADDR", err), public.Close())
	}
	return public, metrics, nil
}
