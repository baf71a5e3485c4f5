package pipeline

import (
	"context"

	"restored/media"
)

// Preview is a small JPEG of a photo, or of the picture that a video shows at a
// time in seconds (negative = one of its beginning), of at most side×side pixels.
func Preview(ctx context.Context, path string, side int, at float64) ([]byte, error) {
	if media.IsVideoName(path) {
		return media.PreviewVideo(ctx, path, side, at)
	}
	return media.Preview(ctx, path, side, media.Options{MaxPixels: media.MaxPixelsLimit})
}
