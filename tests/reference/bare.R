# Values that the tests of analysis/profiles/bare.py compare with.
# Run in this folder: Rscript bare.R (R 4.2, nlme, splines, jsonlite).
library(nlme)
library(splines)
library(jsonlite)

set.seed(3)
fits <- function(depth, score, step) {
  # Over columns that span the natural splines with five knots at equal shares of the points.
  knots <- quantile(depth, c(0.25, 0.5, 0.75))
  spline <- ns(depth, knots = knots, Boundary.knots = range(depth), intercept = TRUE)
  means <- list(quadratic = cbind(1, depth, depth^2), spline = spline)
  out <- list()
  for (form in names(means)) {
    X <- means[[form]]
    for (rho in c(0.5, 0.9, 0.99)) {
      # corCAR1: the correlation of points at a distance of 1 is phi.
      fit <- gls(score ~ X - 1, method = "REML",
                 correlation = corCAR1(rho^(1 / step), form = ~depth, fixed = TRUE))
      out[[length(out) + 1]] <- list(form = form, rho = rho, sigma = fit$sigma,
                                     log_likelihood = as.numeric(logLik(fit)))
    }
  }
  list(depth = depth, score = score, fits = out)
}

even <- 0:24 / 24
uneven <- c(0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32) / 32
noise <- function(n) as.numeric(arima.sim(list(ar = 0.7), n, sd = 0.02))
cases <- list(
  even = fits(even, round(exp(-0.5 * ((even - 0.3) / 0.2)^2) + noise(25), 8), 1 / 24),
  uneven = fits(uneven, round(1 - exp(-uneven / 0.2) + noise(13), 8), median(diff(uneven)))
)
cases$versions <- list(R = as.character(getRversion()), nlme = as.character(packageVersion("nlme")))
write(toJSON(cases, digits = 16, auto_unbox = TRUE, pretty = TRUE), "bare.json")
