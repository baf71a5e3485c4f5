package media

import "context"

func (j *joiner) verify(ctx context.Context, path string) error { return nil }
