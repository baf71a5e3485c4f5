package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"restored/media"
)

// checkTail is the part of a video's end that Check decodes.
const checkTail = time.Second

// Check looks whether a written photo or video can be read: a photo is decoded
// whole; of a video all packets are read and the first picture and the last
// second are decoded. The error names the file.
func Check(ctx context.Context, path string) error {
	if !media.IsVideoName(path) {
		_, err := media.OpenPhoto(ctx, path, media.Options{MaxPixels: media.MaxPixelsLimit})
		return err
	}
	v, err := media.ProbeVideo(ctx, path)
	if err != nil {
		return err
	}
	index, err := media.IndexVideo(ctx, v, nil)
	if err != nil {
		return err
	}
	if index.Truncated != "" || index.Corrupt > 0 {
		return fmt.Errorf("%s: %w %s", path, media.ErrDamaged, index.Truncated)
	}
	if err := decodes(ctx, v, media.ReadOptions{From: media.NoTime, To: media.NoTime, Direct: index.Direct}, 1); err != nil {
		return err
	}
	tail := max(index.First, index.End-v.Stream().TimeBase.Ticks(checkTail))
	return decodes(ctx, v, media.ReadOptions{From: tail, To: media.NoTime, Direct: index.Direct}, 0)
}

// decodes reads so many pictures, 0 = all and at least one.
func decodes(ctx context.Context, v *media.Video, o media.ReadOptions, pictures int64) (err error) {
	r, err := media.OpenReader(ctx, v, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for n := int64(0); pictures == 0 || n < pictures; n++ {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) && n > 0 && pictures == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", v.Path, err)
		}
		p.Release()
	}
	if c := r.Counts(); c.Corrupt > 0 || c.Truncated != "" {
		return fmt.Errorf("%s: %w", v.Path, media.ErrDamaged)
	}
	return nil
}
