# Values that the tests of analysis/profiles/uncertainty.py and analysis/profiles/localization.py compare with.
# Run in this folder: Rscript shape.R (R 4.2, nlme, metafor, jsonlite).
#
# ushape_cases.csv and ushape_expected.csv come from R as well: lm(score ~ depth + I(depth^2)) and
# its end slopes, Sasabuchi's p with n - 3 degrees of freedom, Fieller's interval, and
# U. Simonsohn's twolines() with its Robin Hood breakpoint (mgcv smoother, HC3 standard errors).
library(nlme)
library(metafor)
library(jsonlite)

set.seed(1)
layer <- 0:24
depth <- layer / 24
score <- round(0.8 - 0.4 * (depth - 0.55)^2 + as.numeric(arima.sim(list(ar = 0.8), 25, sd = 0.01)), 8)
ar1 <- lapply(c(0, 0.5, 0.9, 0.99), function(rho) {
  fit <- if (rho == 0) {
    gls(score ~ depth + I(depth^2), method = "REML")
  } else {
    gls(score ~ depth + I(depth^2), correlation = corAR1(rho, form = ~layer, fixed = TRUE),
        method = "REML")
  }
  list(rho = rho, log_likelihood = as.numeric(logLik(fit)), sigma = fit$sigma)
})

pool <- function(y, se) {
  fit <- rma(yi = y, sei = se, method = "REML", test = "knha",
             control = list(threshold = 1e-14, maxiter = 10000))
  to <- predict(fit)
  list(y = y, se = se, estimate = as.numeric(fit$beta), error = fit$se, low = fit$ci.lb,
       high = fit$ci.ub, tau = sqrt(fit$tau2), i2 = fit$I2 / 100, prediction_low = to$pi.lb,
       prediction_high = to$pi.ub)
}
pooled <- list(
  heterogeneous = pool(c(0.42, 0.55, 0.61, 0.48, 0.50, 0.39, 0.70, 0.52, 0.58),
                       c(0.03, 0.02, 0.05, 0.04, 0.02, 0.06, 0.05, 0.03, 0.04)),
  homogeneous = pool(c(0.50, 0.51, 0.49, 0.505), c(0.03, 0.02, 0.05, 0.04)),
  two = pool(c(0.4, 0.6), c(0.03, 0.05))
)
write(toJSON(list(depth = depth, score = score, ar1 = ar1, pooled = pooled,
                  versions = list(R = as.character(getRversion()),
                                  nlme = as.character(packageVersion("nlme")),
                                  metafor = as.character(packageVersion("metafor")))),
             digits = 16, auto_unbox = TRUE, pretty = TRUE), "shape.json")
