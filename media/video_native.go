package media

import "github.com/asticode/go-astiav"

// nativePicture is FFmpeg's frame behind a Picture.
type nativePicture struct{ frame *astiav.Frame }
