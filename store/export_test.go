package store

// What the tests outside this package need of those in it.

const CacheBytes = cacheBytes

var (
	OpenMemory = openMemory
	Do         = do
)

// Shrink bounds what the store keeps in memory to be quicker.
func (s *Store) Shrink(cacheBytes, recentKeys, recentCommits int) {
	s.applier.cache = newCache(cacheBytes)
	s.applier.recent.maxKeys, s.applier.recent.maxCommits = recentKeys, recentCommits
}
