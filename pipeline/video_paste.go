package pipeline

import (
	"context"
	"fmt"
	"time"

	"restored/align"
	"restored/paste"
	"restored/restore"
)

// A patch is a restored face of a picture, kept for the picture after it.
type patch struct {
	track int
	face  paste.Face
}

// restore does the work on one picture: crops of its faces, the model, the
// residuals into its planes. before is the picture before it, which may still be in
// work, or nil: its faces steady these, and a picture that repeats it gets the same.
func (v *renderer) restore(ctx context.Context, s *shot, wanted []wantedFace, before *shot) error {
	repeated := before != nil && repeats(wanted)
	if !repeated {
		if err := v.patches(ctx, s, wanted); err != nil {
			return err
		}
	}
	if before != nil {
		select {
		case <-before.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case before.err != nil:
			return before.err
		case repeated && before.patches != nil:
			s.patches = before.patches
		case repeated: // the one before was left alone
			if err := v.patches(ctx, s, wanted); err != nil {
				return err
			}
		default:
			v.steady(s, before)
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
	s.ms.Paste += millis(start)
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
		s.patches = append(s.patches, patch{w.track.ID, paste.Face{
			Before: before, After: after, Size: spec.Size, ToCrop: to,
			Landmarks: maskLandmarks(m, points), Blend: w.blend, Grain: v.e.o.Video.Grain,
		}})
	}
	return nil
}

// steady takes the model's flicker out of the faces that the picture before has too.
func (v *renderer) steady(s, before *shot) {
	start := time.Now()
	for _, p := range s.patches {
		for _, last := range before.patches {
			if last.track == p.track {
				steady(p.face.Before, p.face.After, last.face.Before, last.face.After, p.face.Size)
			}
		}
	}
	s.ms.Paste += millis(start)
}
