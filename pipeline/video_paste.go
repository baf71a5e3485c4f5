package pipeline

import (
	"context"
	"fmt"
	"time"

	"restored/align"
	"restored/paste"
	"restored/restore"
)

// A patch is a restored face of a picture, kept for the pictures that repeat it.
type patch struct{ face paste.Face }

// restore does the work on one picture: crops of its faces, the model, the
// residuals into its planes. A picture that repeats an earlier one, which may still
// be in work, gets the same.
func (v *renderer) restore(ctx context.Context, s *shot, wanted []wantedFace, earlier *shot) error {
	if earlier != nil {
		select {
		case <-earlier.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.patches = earlier.patches
		if earlier.err != nil {
			return earlier.err
		}
	}
	if s.patches == nil {
		if err := v.patches(ctx, s, wanted); err != nil {
			return err
		}
	}
	start := time.Now()
	faces := make([]paste.Face, len(s.patches))
	for i, p := range s.patches {
		faces[i] = p.face
	}
	if err := s.pic.Writable(); err != nil {
		return err
	}
	if _, err := paste.Paste(&s.pic.Planar, faces); err != nil {
		return fmt.Errorf("paste: %w", err)
	}
	s.faces = len(faces)
	s.ms.Paste = millis(start)
	return nil
}

// patches crops and restores the faces of a picture.
func (v *renderer) patches(ctx context.Context, s *shot, wanted []wantedFace) error {
	spec := v.e.session.Spec()
	s.patches = []patch{} // also where no face is left: done
	for _, w := range wanted {
		start := time.Now()
		m, points, ok, err := fit(w.landmarks, spec.Template, spec.Size)
		if err != nil {
			return fmt.Errorf("align: %w", err)
		}
		if !ok {
			continue
		}
		to := v.g.toCrop(m)
		before, err := align.WarpAffine(&s.pic.Planar, to, spec.Size)
		if err != nil {
			return fmt.Errorf("align: %w", err)
		}
		s.ms.Align += millis(start)
		after, took, err := v.e.batcher.Restore(ctx, restore.Face{Image: before, Steps: w.track.Steps, Seed: w.track.Seed})
		if err != nil {
			return err
		}
		s.ms.Model += float64(took.Microseconds()) / 1000
		s.patches = append(s.patches, patch{paste.Face{
			Before: before, After: after, Size: spec.Size, ToCrop: to,
			Landmarks: maskLandmarks(m, points), Blend: w.blend, Grain: v.e.o.Video.Grain,
		}})
	}
	return nil
}
