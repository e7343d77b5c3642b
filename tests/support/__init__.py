"""What several kinds of tests share: unit tests, tests on lab servers, the browser's."""
