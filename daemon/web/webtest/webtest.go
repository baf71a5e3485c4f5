// Package webtest opens a real headless Chromium for tests of the page.
package webtest

import (
	"context"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// Tab is an empty tab of 1200×900 pixels in a Chromium of its own, which ends with the test.
func Tab(t testing.TB) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WindowSize(1200, 900))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's takes no root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(func() { closeTab(); stop() })
	return ctx
}
