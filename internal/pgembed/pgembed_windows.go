package pgembed

import "context"

type running struct{}

func (*running) stop(context.Context) error { return ErrUnsupported }

func start(context.Context, Config) (*Server, error) { return nil, ErrUnsupported }

func remove(context.Context, string) error { return ErrUnsupported }
