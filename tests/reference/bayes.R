# Posterior departures of families from their mean, on a dense grid of the joint density of
# (mu, tau), where the Python code integrates mu in closed form. The density is even and smooth in
# tau and vanishes at the other ends, where equally weighted points converge fast.
#   Rscript tests/reference/bayes.R    writes tests/reference/bayes.json
suppressMessages(library(jsonlite))
inputs <- list(
  two = list(y = c(0.45, 0.6), se = c(0.03, 0.04), scale = 0.1),
  departing = list(y = c(0.5, 0.52, 0.49, 0.72), se = c(0.02, 0.03, 0.025, 0.03), scale = 0.1),
  equal = list(y = c(0.5, 0.51, 0.495, 0.505, 0.49), se = c(0.02, 0.03, 0.04, 0.02, 0.03),
               scale = 0.1),
  tight = list(y = c(0.4, 0.55, 0.7), se = c(0.03, 0.05, 0.04), scale = 0.03))
delta <- 0.1
cases <- lapply(inputs, function(case) {
  y <- case$y; s <- case$se; n <- 700
  end <- 8 * case$scale
  grid <- expand.grid(tau = end * (seq_len(n) - 0.5) / n,
                      mu = seq(min(y) - 3 * end, max(y) + 3 * end, length.out = 2 * n))
  tau <- grid$tau; mu <- grid$mu
  log_p <- dnorm(tau, 0, case$scale, log = TRUE)
  for (f in seq_along(y)) log_p <- log_p + dnorm(y[f], mu, sqrt(s[f]^2 + tau^2), log = TRUE)
  kept <- log_p > max(log_p) - 30
  tau <- tau[kept]; mu <- mu[kept]
  p <- exp(log_p[kept] - max(log_p)); p <- p / sum(p)
  b <- sapply(s, function(e) tau^2 / (tau^2 + e^2))
  center <- sapply(seq_along(y), function(f) b[, f] * (y[f] - mu))
  sd <- sapply(seq_along(y), function(f) sqrt(b[, f]) * s[f])
  below <- function(f, x) sum(p * pnorm(x, center[, f], sd[, f]))
  quantile_of <- function(level) sapply(seq_along(y), function(f)
    uniroot(function(x) below(f, x) - level, c(-0.6, 0.6), tol = 1e-7)$root)
  within <- Reduce(`*`, lapply(seq_along(y), function(f)
    pnorm(delta, center[, f], sd[, f]) - pnorm(-delta, center[, f], sd[, f])))
  list(y = y, se = s, tau_scale = case$scale, delta = delta, mean = colSums(p * center),
       low = quantile_of(0.025), high = quantile_of(0.975),
       p_beyond = sapply(seq_along(y), function(f) 1 - below(f, delta) + below(f, -delta)),
       p_any = 1 - sum(p * within), mu = sum(p * mu), tau = sum(p * tau))
})
cases$version <- R.version.string
write_json(cases, "tests/reference/bayes.json", auto_unbox = TRUE, digits = 10, pretty = TRUE)
