/* C ABI around dlib's frontal HOG face detector and its shape predictor.
 *
 * Every function that can fail returns 0, or -1 with a NUL-terminated reason
 * in err (which may be cut to errlen bytes). No C++ exception leaves this
 * interface. Nothing keeps a pointer of the caller after a call returns. A
 * context serves one call at a time; different contexts are independent. */
#ifndef RESTORED_DETECT_DLIB_H
#define RESTORED_DETECT_DLIB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct detect_ctx detect_ctx;

/* Pixels: rows of width*channels bytes, stride bytes apart; channels is 1
 * (gray) or 3 (RGB). The caller guarantees that stride*(height-1) +
 * width*channels bytes are readable. */
typedef struct {
	const uint8_t *pix;
	long stride;
	int width, height, channels;
} detect_image;

/* One detection: an inclusive box in the pixels of the scanned image (it may
 * reach over its edge), the SVM's score over its own threshold, and which of
 * dlib's five filters fired. */
typedef struct {
	double score;
	long left, top, right, bottom;
	int filter;
} detect_hit;

/* detect_new reads the shape predictor from the file and unpacks the detector
 * that is built into dlib's headers. parts receives the predictor's number of
 * points. */
int detect_new(const char *predictor, detect_ctx **out, int *parts, char *err, size_t errlen);
void detect_free(detect_ctx *ctx); /* NULL is allowed */

/* detect_scan writes at most cap hits, best score first, and their number to
 * n. upsample doubles the image first (boxes are in the pixels of the image
 * given). threads is how many threads share the work, the caller's included. */
int detect_scan(detect_ctx *ctx, const detect_image *im, int upsample, double threshold, int threads,
                detect_hit *hits, int cap, int *n, char *err, size_t errlen);

/* detect_landmarks runs the predictor on each of n inclusive boxes {left, top,
 * right, bottom}; xy receives n times parts pairs: the whole pixels that dlib
 * gives. im must be gray. */
int detect_landmarks(detect_ctx *ctx, const detect_image *im, const long *boxes, int n,
                     double *xy, int parts, char *err, size_t errlen);

#ifdef __cplusplus
}
#endif
#endif
