package align

import (
	"runtime"
	"sync"
)

// bands calls f on ranges that cover [0, n), none shorter than least except
// where n is, on at most GOMAXPROCS goroutines, and returns when all are done.
func bands(n, least int, f func(from, to int)) {
	k := max(1, min(runtime.GOMAXPROCS(0), n/max(1, least)))
	if k == 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for i := range k {
		wg.Go(func() { f(i*n/k, (i+1)*n/k) })
	}
	wg.Wait()
}
