package media

import (
	"fmt"
	"path/filepath"
	"testing"
)

func TestTryJoin(t *testing.T) {
	src := filepath.Join(t.TempDir(), "a.mp4")
	ffmpeg(t, "-f lavfi -i testsrc=s=320x240:r=25:d=2 -f lavfi -i sine=d=2 -pix_fmt yuv420p -c:v libx264 -c:a aac "+src)
	r := rewrite(t, src, 20, EncodeOptions{})
	fmt.Printf("%+v\n%+v\n", r.e, r.info)
	for _, f := range []string{src, r.out} {
		fmt.Println(ffprobe(t, f, "-show_streams -show_format"))
		fmt.Println(ffprobe(t, f, "-select_streams v -show_entries packet=pts,dts,duration,flags -of csv"))
	}
}
