package media

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestZZ(t *testing.T) {
	fs, _ := filepath.Glob("/work/shared/data/videos/*")
	for _, f := range fs {
		if g := os.Getenv("ONLY"); g != "" && filepath.Base(f) != g {
			continue
		}
		t.Run(filepath.Base(f), func(t *testing.T) {
			r := rewrite(t, f, 40, EncodeOptions{Preset: os.Getenv("PRESET")})
			sameTimes(t, r)
			sameCopies(t, r)
			samePictures(t, r, r.v.Stream().Picture.Depth)
			b, _ := json.Marshal(r.e)
			_ = b
			fmt.Printf("%s %s %s %s %d -> %d bytes %q\n", filepath.Base(f), r.e.Encoder, r.e.PixelFormat, r.e.Muxer, r.v.Size, r.info.Bytes, r.info.Notes)
		})
	}
}
