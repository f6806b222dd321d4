# Hall's (1992) transformation of t for a skewed mean: p, and the interval by root finding.
#   Rscript tests/reference/skewed_mean.R    writes tests/reference/skewed_mean.json
library(jsonlite)
set.seed(7)
hall <- function(y, mu) {
  s <- sqrt(mean((y - mean(y))^2)); g <- mean((y - mean(y))^3) / s^3; n <- length(y)
  t <- (mean(y) - mu) / s
  sqrt(n) * (t + g * t^2 / 3 + g^2 * t^3 / 27 + g / (6 * n))
}
cases <- list(right = rexp(9) - 0.7, left = 0.9 - rexp(12), normal = rnorm(20, 0.3),
              tail = c(rnorm(8, 0.2, 0.1), 2))
write_json(lapply(cases, function(y) {
  df <- length(y) - 1; q <- qt(0.975, df); wide <- 50 * sd(y)
  end <- function(z) uniroot(function(mu) hall(y, mu) - z, mean(y) + c(-wide, wide), tol = 1e-13)$root
  list(y = y, low = end(q), high = end(-q), p = 2 * pt(-abs(hall(y, 0)), df))
}), "tests/reference/skewed_mean.json", auto_unbox = TRUE, digits = NA)
