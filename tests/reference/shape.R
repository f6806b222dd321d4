# Values that the tests of analysis/profiles/localization.py compare with.
# Run in this folder: Rscript shape.R (R 4.2, metafor, jsonlite).
#
# ushape_cases.csv and ushape_expected.csv come from R as well: lm(score ~ depth + I(depth^2)) and
# its end slopes, Sasabuchi's p with n - 3 degrees of freedom, Fieller's interval, and
# U. Simonsohn's twolines() with its Robin Hood breakpoint (mgcv smoother, HC3 standard errors).
library(metafor)
library(jsonlite)

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
write(toJSON(list(pooled = pooled,
                  versions = list(R = as.character(getRversion()),
                                  metafor = as.character(packageVersion("metafor")))),
             digits = 16, auto_unbox = TRUE, pretty = TRUE), "shape.json")
